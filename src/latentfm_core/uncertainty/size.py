"""Variation of the foreground size between samples, in physical units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentfm_core.measures.size import area, diameter
from latentfm_core.types import Mask

INTERVAL = (0.05, 0.95)
"""Quantiles of the 90 % interval."""

FULL_SHARE = 0.95
"""Share of the image above which a mask counts as covering all of it."""


@dataclass(frozen=True)
class Spread:
    """One size measure over all samples.

    Attributes
    ----------
    values
        ``(N,)`` float64, one for each sample; 0 if it is empty.
    mean, low, high
        Mean, and the ends of the 90 % interval (linear interpolation of the order
        statistics).
    """

    values: NDArray[np.float64]
    mean: float
    low: float
    high: float


def outlines_nothing(mask: Mask) -> bool:
    """Return whether a mask is empty or covers (nearly) the whole image."""
    return not 0 < np.count_nonzero(mask) / mask.size < FULL_SHARE


def area_spread(sample_masks: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Spread:
    """Return the areas of the foreground of samples ``(N, H, W)``, in square units.

    `spacing` is the pixel size (row, column).
    """
    return _spread([area(int(np.count_nonzero(mask)), spacing) for mask in sample_masks])


def diameter_spread(sample_masks: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Spread:
    """Return the `diameter` of each of the samples ``(N, H, W)``, in units."""
    return _spread([diameter(mask != 0, spacing) for mask in sample_masks])


def _spread(values: list[float]) -> Spread:
    array = np.asarray(values, np.float64)
    low, high = np.quantile(array, INTERVAL)
    return Spread(array, float(array.mean()), float(low), float(high))
