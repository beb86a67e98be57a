"""Obvious objects on even backgrounds, which no training image resembles."""

from __future__ import annotations

import numpy as np
import pytest

from latentfm_core import SamplingConfig, Segmenter
from latentfm_core.metrics.overlap import dice

SKIN, LESION = (222, 170, 150), (95, 60, 50)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """The model that commands and the dock use by default."""
    return Segmenter.load("isic2018", "cpu")


@pytest.mark.parametrize(
    ("shape", "centre", "radius"),
    [
        ((160, 220), (70, 80), 35),
        ((220, 160), (100, 70), 35),
        ((300, 400), (150, 200), 60),
        ((160, 220), (50, 150), 20),
        ((256, 256), (128, 128), 70),
    ],
)
def test_a_dark_ellipse_is_found_without_a_prompt(
    segmenter: Segmenter, shape: tuple[int, int], centre: tuple[int, int], radius: int
) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = ((rows - centre[0]) / radius) ** 2 + ((columns - centre[1]) / radius / 1.3) ** 2 < 1
    image = np.where(mask[..., np.newaxis], LESION, SKIN)
    image = image + np.random.default_rng(0).normal(0, 5, image.shape)
    samples = segmenter.sample(image.clip(0, 255).astype(np.uint8), SamplingConfig(n_samples=8))
    assert dice(segmenter.summarise(samples).mean_mask, mask) > 0.95
