"""A data set and a small model of two classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.draw import disk, rectangle
from skimage.io import imsave

from tests.helpers.fixtures import SIZE, Folders, made_once, tiny_settings, train

COUNT = 40
CLASSES = ["disc", "square"]
COLOURS = ["#d01c8b", "#4dac26"]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with a dark disc (class 1) and a bright square (class 2), and labels."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[disk(rng.uniform(16, 46, 2), rng.uniform(8, 13), shape=labels.shape)] = 1
    corner = rng.integers(4, 40, 2)
    labels[rectangle(corner, extent=rng.integers(14, 22, 2), shape=labels.shape)] = 2
    image = np.choose(labels, [130, 40, 220]) + rng.normal(0, 8, labels.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_two_classes(folder: Path) -> Folders:
    """Write images and masks; return both folders."""
    images, masks = folder / "images", folder / "masks"
    images.mkdir()
    masks.mkdir()
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        image, labels = draw(rng)
        imsave(images / f"{index:02d}.png", image, check_contrast=False)
        imsave(masks / f"{index:02d}.png", labels, check_contrast=False)
    return images, masks


@pytest.fixture(scope="session")
def two_class_folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folders of 40 images and label images of two classes."""
    folder = made_once(tmp_path_factory, "classes", write_two_classes)
    return folder / "images", folder / "masks"


@pytest.fixture(scope="session")
def coloured_model_folder(
    two_class_folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained model of two classes with its own colours."""

    def make(folder: Path) -> None:
        _train_two_classes(two_class_folders, folder / "coloured")

    return made_once(tmp_path_factory, "coloured", make) / "coloured"


def _train_two_classes(folders: Folders, out: Path) -> None:
    stage = {"batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 5}
    values: dict[str, Any] = tiny_settings(
        mask_vae={**stage, "epochs": 20},
        flow={**stage, "epochs": 25, "ema_decay": 0.9, "validate_every": 25},
    )
    values["data"] |= {"images": str(folders[0]), "masks": str(folders[1])}
    values["model"] |= {"classes": CLASSES, "class_colours": COLOURS}
    train(values, out)
