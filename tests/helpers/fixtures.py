"""Small real data sets and models, made in seconds and shared by the whole test run."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import disk
from skimage.io import imsave

from latentfm_core.cli.calibrate import main as calibrate_main
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.training.trainer import RunOptions, Trainer

SIZE = 64
SMALL_NETWORK = """[model]
condition = "multiscale"
vae_width = 16
condition_widths = [16, 24, 32, 32]
condition_blocks = [1, 1, 1, 1]
velocity_widths = [24, 32]
"""
"""Of a TOML file: a network that is trained in seconds."""


def tiny_settings(**training: object) -> dict[str, object]:
    """Return nested settings of a network that trains in seconds."""
    return {
        "data": {"size": SIZE, "val_fraction": 0.2, "test_fraction": 0.2},
        "model": {
            "condition": "multiscale",
            "vae_width": 16,
            "condition_widths": [16, 24, 32, 32],
            "condition_blocks": [1, 1, 1, 1],
            "velocity_widths": [24, 32],
        },
        "training": {
            "image_vae": {"epochs": 1, "batch_size": 8, "size": None},
            "mask_vae": {"epochs": 10, "batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 5},
            "flow": {
                "epochs": 10,
                "batch_size": 8,
                "learning_rate": 3e-3,
                "warmup_steps": 5,
                "ema_decay": 0.9,
                "validate_every": 10,
            },
            "augmentation": "flips",
            "precision": "fp32",
            "device": "cpu",
            "validation_images": 2,
            "validation_samples": 2,
            "validation_steps": 2,
            **training,
        },
    }


def tiny_config(**training: object) -> Config:
    """Return the validated form of `tiny_settings`."""
    return config_from_mapping(tiny_settings(**training))


def write_blobs(folder: Path, count: int = 40, seed: int = 0) -> tuple[Path, Path]:
    """Write dark discs on a bright, noisy ground, and their masks; return both folders."""
    rng = np.random.default_rng(seed)
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    for index in range(count):
        mask = np.zeros((SIZE, SIZE), bool)
        centre = rng.uniform(20, 44, 2)
        mask[disk(centre, rng.uniform(8, 16), shape=mask.shape)] = True
        image = np.where(mask[..., None], (110, 70, 50), (220, 180, 160))
        image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
        imsave(images / f"blob_{index:03d}.png", image, check_contrast=False)
        imsave(masks / f"blob_{index:03d}.png", mask.astype(np.uint8) * 255, check_contrast=False)
    return images, masks


@pytest.fixture(scope="session")
def blob_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of 40 images and masks of dark discs."""
    return write_blobs(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="session")
def tiny_model_folder(
    blob_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model folder really trained on `blob_folders`, in a few seconds."""
    images, masks = blob_folders
    values = tiny_settings()
    values["data"] = {**values["data"], "images": str(images), "masks": str(masks)}  # type: ignore[dict-item]
    out = tmp_path_factory.mktemp("model") / "tiny"
    card = Trainer(config_from_mapping(values), RunOptions(out)).run()
    if card is None:
        pytest.fail("the tiny training run did not finish")
    return out


def copy_model(folder: Path, target: Path) -> Path:
    """Copy card and weights of a model folder; return `target`."""
    target.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        shutil.copy(folder / name, target)
    return target


def with_colours(folder: Path, colours: Sequence[str]) -> Path:
    """Give the card of a model folder colours of its classes, or none; return `folder`."""
    card = json.loads((folder / "model.json").read_text())
    model = card["config"]["model"]
    model.pop("class_colours", None)
    if colours:
        model["class_colours"] = list(colours)
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def calibrated_model_folder(
    tiny_model_folder: Path,
    blob_folders: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny model, calibrated by the command on its own validation images."""
    folder = copy_model(tiny_model_folder, tmp_path_factory.mktemp("calibrated") / "tiny")
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]
    words += ["--split", tiny_model_folder / "training" / "split.json", "--samples", "4"]
    # The figures that are fitted, and with them the tests, are the same on every processor.
    words += ["--device", "cpu", "--precision", "fp32", "--quiet", "--allow-few"]
    assert calibrate_main([*map(str, words)]) == 0
    return folder


@pytest.fixture(scope="session")
def domain_model_folder(
    tiny_model_folder: Path,
    blob_folders: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny model with the out-of-domain score that the command fits to its own images."""
    folder = copy_model(tiny_model_folder, tmp_path_factory.mktemp("domain") / "tiny")
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]
    words += ["--split", tiny_model_folder / "training" / "split.json", "--domain-only"]
    words += ["--device", "cpu", "--precision", "fp32", "--quiet", "--allow-few"]
    assert calibrate_main([*map(str, words)]) == 0
    return folder


@contextmanager
def little_memory(most: int = 32 * 2**20) -> Iterator[None]:
    """Fail if more than `most` bytes are taken at once inside the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
