"""Pictures that tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.draw import disk


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def disc_image(shape: tuple[int, int] = (60, 80), radius: int = 16) -> np.ndarray:
    """Return a dark disc on a bright ground, ``(H, W, 3)`` uint8."""
    image = np.full((*shape, 3), (220, 180, 160), np.uint8)
    image[disk((shape[0] // 2, shape[1] // 2), radius, shape=shape)] = (110, 70, 50)
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
