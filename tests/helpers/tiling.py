"""Images assembled from tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.config import SamplingConfig, TilingConfig
from latentfm_core.images.large import PixelField, large_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import Summary

SETTINGS = SamplingConfig(n_samples=2, steps=2, seed=3, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def segmenter(calibrated_model_folder: Path) -> Segmenter:
    return Segmenter.load(calibrated_model_folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Return dark discs on a bright, noisy background, about as large as those of the training."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:160, :192]
    inside = np.zeros(y.shape, bool)
    for centre in ((30, 34), (36, 120), (96, 70), (120, 150), (140, 20)):
        inside |= np.hypot(y - centre[0], x - centre[1]) < 13
    image = np.where(inside[..., None], (110, 70, 50), (220, 180, 160))
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


class Whole:
    """A sink that assembles the parts, and refuses overlapping ones."""

    def __init__(self, shape: tuple[int, int], samples: int) -> None:
        self.mean = np.full(shape, np.nan, np.float32)
        self.confidence = np.full(shape, np.nan, np.float32)
        self.masks = np.zeros((samples, *shape), bool)

    def __call__(self, top: int, left: int, part: Summary) -> None:
        height, width = part.mean_mask.shape
        place = np.s_[..., top : top + height, left : left + width]
        assert np.isnan(self.mean[place]).all()
        self.mean[place] = part.mean_probability
        self.confidence[place] = part.confidence
        self.masks[place] = part.sample_masks


def tiled(
    segmenter: Segmenter, pixels: Any, settings: SamplingConfig = SETTINGS, **options: Any
) -> Whole:
    image, tiling = large_image(pixels), TilingConfig(**options)
    whole = Whole(PixelField(image, tiling.scale).shape, settings.n_samples)
    for _ in segmenter.sample_tiles(image, settings, tiling, whole):
        pass
    assert np.isfinite(whole.mean).all()
    return whole
