"""Agreement contours: where 10, 50 and 90 % of the samples see foreground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from latentfm_core.types import Float32, Mask

Path = NDArray[np.float64]

AGREEMENT_LEVELS = (0.1, 0.5, 0.9)
TOLERANCE = 0.3
"""Largest deviation of a simplified contour from the exact one, in pixels."""


@dataclass(frozen=True)
class AgreementContour:
    """Border of the region that a share of the samples labels as foreground.

    Attributes
    ----------
    paths
        Closed lines ``(V, 2)`` float64 of (row, column) in pixels, the first vertex equal to
        the last. A pixel's centre has whole coordinates, so the image reaches from -0.5 to
        H - 0.5.
    """

    level: float
    paths: tuple[Path, ...]


def foreground_share(sample_masks: Mask) -> Float32:
    """Return the share of samples ``(N, H, W)`` with foreground, ``(H, W)`` float32 in [0, 1]."""
    counts = np.zeros(sample_masks.shape[1:], np.float32)
    for mask in sample_masks:
        counts += mask != 0
    return counts / np.float32(max(1, len(sample_masks)))


def agreement_contours(
    sample_masks: Mask, levels: Sequence[float] = AGREEMENT_LEVELS
) -> tuple[AgreementContour, ...]:
    """Return the contour of each level, in the order of `levels`.

    A pixel is inside where at least ceil(level * N) of the N samples have foreground of any
    class. Contours run by marching squares (Lorensen and Cline 1987) half a sample below that
    number, so that none runs exactly through pixel values, and are closed along the image's
    border.

    Parameters
    ----------
    sample_masks
        ``(N, H, W)`` bool, or labels with 0 as background; N >= 1.
    levels
        Shares in (0, 1].

    Raises
    ------
    ValueError
        If there is no sample or a level is out of range.
    """
    if sample_masks.ndim != 3 or not len(sample_masks):
        raise ValueError(f"samples must be (N, H, W) with N >= 1, not {sample_masks.shape}")
    if not all(0 < level <= 1 for level in levels):
        raise ValueError(f"levels must lie in (0, 1], not {list(levels)}")
    # The frame of zeros closes lines that would end at the image's border.
    share = np.pad(foreground_share(sample_masks), 1)
    count = len(sample_masks)
    return tuple(AgreementContour(level, _paths(share, level, count)) for level in levels)


def enlarged(contour: AgreementContour, step: int) -> AgreementContour:
    """Return a contour that was found on a grid of `step` pixels in pixels of its plane."""
    if step == 1:
        return contour
    # The first point of a grid is the pixel in the middle of its cell.
    return replace(contour, paths=tuple(path * step + step // 2 for path in contour.paths))


def _paths(framed: Float32, level: float, count: int) -> tuple[Path, ...]:
    # 0.1 * 30 is a little more than 3 in floating point.
    needed = max(1, math.ceil(level * count - 1e-9))
    # Imported here: it loads scipy.signal and scipy.stats, which would slow down the start of
    # every training and every window.
    from skimage.measure import approximate_polygon

    limit = np.array(framed.shape) - 2.5
    height = (needed - 0.5) / count
    lines = find_contours(framed, height)
    short = (approximate_polygon(line - 1, TOLERANCE) for line in lines)
    # Fewer than 4 vertices of a closed line enclose nothing.
    return tuple(np.clip(line, -0.5, limit) for line in short if len(line) >= 4)
