"""Images of two discs, and a promptable model that distinguishes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import disk
from skimage.io import imsave

from latentfm_core.inference.segmenter import Segmenter
from tests.helpers.fixtures import Folders, made_once, tiny_settings, train

SHAPE = (64, 96)


def paint(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a noisy image whose numbered objects are dark."""
    image = np.where(labels[..., None] > 0, (110, 70, 50), (220, 180, 160))
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def two_discs(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and its labels: disc 1 on the left, disc 2 on the right."""
    labels = np.zeros(SHAPE, np.uint8)
    for number, columns in ((1, (16, 30)), (2, (66, 80))):
        centre = (rng.uniform(18, 46), rng.uniform(*columns))
        labels[disk(centre, rng.uniform(8, 14), shape=SHAPE)] = number
    return paint(labels, rng), labels


def write_discs(folder: Path, count: int, seed: int) -> Folders:
    """Write images of two discs and their label images; return both folders."""
    rng = np.random.default_rng(seed)
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    for index in range(count):
        image, labels = two_discs(rng)
        imsave(images / f"discs_{index:03d}.png", image, check_contrast=False)
        imsave(masks / f"discs_{index:03d}.png", labels, check_contrast=False)
    return images, masks


def disc_settings(images: Path, masks: Path) -> dict[str, object]:
    """Return settings of a promptable network that trains in seconds."""
    flow = {
        "epochs": 60,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "warmup_steps": 5,
        "noise_draws": 2,
        "ema_decay": 0.9,
        "validate_every": 60,
    }
    values = tiny_settings(flow=flow)
    values["training"]["mask_vae"] |= {"epochs": 20}  # type: ignore[index]
    values["model"] |= {"prompts": True, "classes": ["disc"]}  # type: ignore[operator]
    one = {"name": "discs", "images": str(images), "masks": str(masks), "kind": "instances"}
    values["data"] = {"size": 64, "sets": [one]}
    return values


@pytest.fixture(scope="session")
def promptable_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promptable model, trained on 40 images of two discs."""

    def make(folder: Path) -> None:
        train(disc_settings(*write_discs(folder, 40, seed=0)), folder / "discs")

    return made_once(tmp_path_factory, "discs", make) / "discs"


@pytest.fixture(scope="session")
def promptable(promptable_model_folder: Path) -> Segmenter:
    """The promptable model, loaded."""
    return Segmenter.load(promptable_model_folder, "cpu", "fp32")
