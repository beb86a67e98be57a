"""Area and longest diameter of a mask, in pixels or in physical units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.types import Bool

Spacing = tuple[float, float]
"""Pixel size (row, column)."""

PIXELS: Spacing = (1.0, 1.0)
"""The spacing that gives sizes in pixels."""

TOUCHING = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong to one piece."""

_LINE = 5
"""Pixels across, from which on a line is thick."""
_THICK = 0.01
_FILLED = 3


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


def is_outline(mask: NDArray[Any]) -> bool:
    """Return whether the foreground of ``(H, W)`` is a thin line around areas left unfilled.

    Filling them would at least triple its area. A net of vessels encloses areas too, but also has
    vessels that are thicker than such a line.
    """
    rows, columns = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return False
    drawn = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0, 1)
    count = int(np.count_nonzero(drawn))
    inner = ndimage.minimum_filter(drawn.astype(np.uint8), size=_LINE)
    if np.count_nonzero(inner) > _THICK * count:
        return False
    background, _ = ndimage.label(~drawn)
    around = np.count_nonzero(background == background[0, 0])
    return bool(drawn.size - around > _FILLED * count)


def feret(mask: NDArray[np.bool_], spacing: Spacing = PIXELS) -> float:
    """Return the largest distance of two pixel corners of a mask ``(H, W)``, in units."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return 0.0
    # Here, because every window would otherwise load it when the dock is opened.
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

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
