"""Area and longest diameter of a mask, in pixels or in physical units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from latentfm_core.types import Bool

Spacing = tuple[float, float]
"""Pixel size (row, column)."""

PIXELS: Spacing = (1.0, 1.0)
"""The spacing that gives sizes in pixels."""

TOUCHING = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong to one piece."""


def area(pixels: int, spacing: Spacing = PIXELS) -> float:
    """Return the area of a number of pixels, in square units."""
    return pixels * abs(spacing[0] * spacing[1])


def diameter(mask: Bool, spacing: Spacing = PIXELS) -> float:
    """Return the maximum Feret diameter of the largest piece of a mask ``(H, W)``, in units.

    That is the largest distance of two corners of its pixels; specks elsewhere do not count.
    """
    return feret(largest_piece(mask), spacing)


def label_pieces(mask: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return the connected pieces of the foreground of ``(H, W)``, numbered from 1, and how many.

    Pixels that touch at a corner belong together, here and wherever objects are counted.
    """
    pieces, count = ndimage.label(mask > 0, TOUCHING)
    return pieces, int(count)


def largest_piece(mask: Bool) -> Bool:
    """Return the connected piece of a mask ``(H, W)`` with the most pixels.

    Pixels that touch at a corner belong together.
    """
    pieces, count = label_pieces(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax())


def count_pieces(mask: NDArray[Any]) -> int:
    """Return the number of connected pieces of the foreground of ``(H, W)`` bool or labels."""
    return label_pieces(mask)[1]


def feret(mask: NDArray[np.bool_], spacing: Spacing = PIXELS) -> float:
    """Return the largest distance of two pixel corners of a mask ``(H, W)``, in units."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return 0.0
    # The outermost pixels of each row contain all corners of the convex hull.
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
