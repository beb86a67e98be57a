"""Small data sets and models, made in seconds and shared by all tests."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from skimage.draw import disk
from skimage.io import imsave

from latentfm_core.cli.calibrate import main as calibrate_main
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card, write_card
from latentfm_core.training.trainer import RunOptions, Trainer

Folders = tuple[Path, Path]
"""Of images and of masks."""
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
                "endpoint_weight": 0.2,  # not the default: every term of the loss is trained
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


def write_blobs(folder: Path, count: int = 40, seed: int = 0) -> Folders:
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


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that one test process creates for all of them.

    Tests only read what is below it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / "shared" / name, root / "shared" / f"{name}.done"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def blob_folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folders of 40 images and masks of dark discs."""
    folder = made_once(tmp_path_factory, "blobs", write_blobs)
    return folder / "images", folder / "masks"


@pytest.fixture(scope="session")
def tiny_model_folder(blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder trained on `blob_folders` in a few seconds."""
    images, masks = blob_folders
    values = tiny_settings()
    values["data"] = {**values["data"], "images": str(images), "masks": str(masks)}  # type: ignore[dict-item]
    made = made_once(tmp_path_factory, "model", lambda folder: train(values, folder / "tiny"))
    return made / "tiny"


def train(values: dict[str, object], out: Path) -> Path:
    """Train a model with nested settings; return its folder."""
    if Trainer(config_from_mapping(values), RunOptions(out)).run() is None:
        pytest.fail(f"the training of {out.name} did not finish")
    return out


def copy_model(folder: Path, target: Path) -> Path:
    """Copy card and weights of a model folder; return `target`."""
    target.mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        shutil.copy(folder / name, target)
    return target


def with_colours(folder: Path, colours: Sequence[str]) -> Path:
    """Set or remove the class colours on the card of a model folder; return `folder`."""
    card = json.loads((folder / "model.json").read_text())
    model = card["config"]["model"]
    model.pop("class_colours", None)
    if colours:
        model["class_colours"] = list(colours)
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def with_sampling(folder: Path, **own: object) -> Path:
    """Change the sampling settings on the card of a model folder; return `folder`."""
    card = read_card(folder)
    sampling = card.config.sampling.model_copy(update=own)
    config = card.config.model_copy(update={"sampling": sampling})
    write_card(folder, card.model_copy(update={"config": config}))
    return folder


def _calibrate(model: Path, target: Path, data: Folders, *more: str) -> None:
    """Copy a model, and calibrate the copy on the model's own validation images."""
    words = ["--images", data[0], "--masks", data[1], "--model", copy_model(model, target)]
    words += ["--split", model / "training" / "split.json", *more]
    # The figures that are fitted, and with them the tests, are the same on every processor.
    words += ["--device", "cpu", "--precision", "fp32", "--quiet", "--allow-few"]
    assert calibrate_main([*map(str, words)]) == 0


@pytest.fixture(scope="session")
def calibrated_model_folder(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model, calibrated by the command on its own validation images."""

    def make(folder: Path) -> None:
        _calibrate(tiny_model_folder, folder / "tiny", blob_folders, "--samples", "4")

    return made_once(tmp_path_factory, "calibrated", make) / "tiny"


@pytest.fixture(scope="session")
def domain_model_folder(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny model with the out-of-domain score that the command fits to its own images."""

    def make(folder: Path) -> None:
        _calibrate(tiny_model_folder, folder / "tiny", blob_folders, "--domain-only")

    return made_once(tmp_path_factory, "domain", make) / "tiny"


@pytest.fixture(scope="session")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    """The tiny model, loaded."""
    return Segmenter.load(tiny_model_folder, "cpu", "fp32")


@contextmanager
def little_memory(most: int = 32 * 2**20) -> Iterator[None]:
    """Fail if more than `most` bytes are allocated at once inside the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
