"""How far the samples differ in the size of the lesion, in physical units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from latentfm_core.types import Bool, Mask

INTERVAL = (0.05, 0.95)
"""Quantiles of the 90 % interval."""


@dataclass(frozen=True)
class Spread:
    """One size of all samples.

    Attributes
    ----------
    values
        ``(N,)`` float64, one for each sample; 0 where it is empty.
    mean, low, high
        Mean, and the ends of the 90 % interval (linear interpolation of the order
        statistics).
    """

    values: NDArray[np.float64]
    mean: float
    low: float
    high: float


def area_spread(sample_masks: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Spread:
    """Return the areas of the foreground of samples ``(N, H, W)``, in square units.

    `spacing` is the pixel size (row, column).
    """
    pixel = abs(spacing[0] * spacing[1])
    return _spread([np.count_nonzero(mask) * pixel for mask in sample_masks])


def diameter_spread(sample_masks: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Spread:
    """Return the `diameter` of each of the samples ``(N, H, W)``, in units."""
    return _spread([diameter(mask != 0, spacing) for mask in sample_masks])


def diameter(mask: Bool, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return the maximum Feret diameter of the largest piece of a mask ``(H, W)``, in units.

    That is the largest distance of two corners of its pixels; specks elsewhere do not count.
    """
    return _feret(largest_piece(mask), spacing)


def largest_piece(mask: Bool) -> Bool:
    """Return the connected piece of a mask ``(H, W)`` with the most pixels.

    Pixels that touch at a corner belong together.
    """
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def _spread(values: list[float]) -> Spread:
    array = np.asarray(values, np.float64)
    low, high = np.quantile(array, INTERVAL)
    return Spread(array, float(array.mean()), float(low), float(high))


def _feret(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return 0.0
    # The outermost pixels of each row hold all corners of the convex hull.
    inside = mask[rows]
    left = inside.argmax(axis=1)
    right = mask.shape[1] - inside[:, ::-1].argmax(axis=1)
    corners = [(rows + down, side) for down in (0, 1) for side in (left, right)]
    points = np.concatenate([np.stack(corner, axis=1) for corner in corners]) * np.abs(spacing)
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:
        points = np.unique(points, axis=0)
    return float(pdist(points).max())
