"""Regions where the samples disagree, ranked by the area at stake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from latentfm_core.types import Bool, Float32, Summary
from latentfm_core.uncertainty.region_pieces import closed, cut, length, merge, smoothed

Place = Literal["boundary", "apart"]

AGREEMENT = 0.9
"""Pixels with less agreement than this are uncertain."""
RAW_LIMIT = 1 - 4 * AGREEMENT * (1 - AGREEMENT)
"""Raw confidence ``1 - 4 q (1 - q)`` where the share q = `AGREEMENT` of the samples agree."""
ROUNDING = 1e-4
MIN_SHARE = 1e-4
"""Smaller parts of the image are specks."""
LONGEST_SHARE = 0.2
"""A region is cut if it is longer than this share of the image's longer side, or than a longer
stretch, if there would be too many."""
LARGEST_SHARE = 0.4
"""Merging does not make a region longer than this."""
SMOOTH_SHARE = 1 / 16
"""Likewise: the length over which the outline is smoothed before it is cut."""
GAP_SHARE = 1 / 64
"""Likewise: largest gap within a region."""
NEAR_SHARE = 1 / 64
"""Likewise: largest distance that counts as on the boundary of the mean mask."""
REACH_SHARE = 1 / 16
"""Likewise: largest distance at which a small piece is merged."""
MAX_REGIONS = 10


@dataclass(frozen=True)
class UncertainRegion:
    """One uncertain region.

    Attributes
    ----------
    rank
        1 for the region with the most area at stake; its label in the map of regions.
    centre
        ``(row, column)`` of a pixel inside it, the nearest to the centroid.
    box
        ``(top, left, bottom, right)`` in pixels, the last two exclusive.
    area
        Pixels.
    stake
        Expected number of wrong pixels here if the mean mask is taken: the sum of
        ``min(p, 1 - p)``, or of ``1 - max_k p_k`` with several classes (the Bayes error of
        the samples' own probabilities).
    place
        Along the outline of the mean mask, or away from it.
    """

    rank: int
    centre: tuple[int, int]
    box: tuple[int, int, int, int]
    area: int
    stake: float
    confidence: float
    place: Place


def uncertain_regions(
    summary: Summary,
) -> tuple[tuple[UncertainRegion, ...], NDArray[np.int32]]:
    """Return the regions of low confidence, by decreasing stake.

    Pixels with a confidence below nine in ten: calibrated, that is 0.9 itself; raw, it is the
    confidence of a pixel that nine of ten samples agree on. Small gaps are bridged. A region
    along the whole outline is cut into stretches of the smoothed outline, to be reviewed one at
    a time. If there are more than `MAX_REGIONS`, the smallest join their neighbours, or are
    dropped if they cannot.

    Returns
    -------
    regions
        In the order of their rank.
    labels
        ``(H, W)`` int32; 0 outside, else the rank of the region.
    """
    limit = AGREEMENT if summary.calibrated else RAW_LIMIT
    # Exactly nine of ten samples count as certain, despite rounding of the variance.
    uncertain = summary.confidence < limit - ROUNDING
    stakes = _stakes(summary.mean_probability)
    side = max(uncertain.shape)
    outline = _outline(summary.mean_mask != 0)
    near = _near(uncertain.shape, outline, max(1.5, NEAR_SHARE * side))
    # Specks of the mean mask do not cut regions.
    lines = [line for line in outline if length(line) > SMOOTH_SHARE * side]
    smooth = [smoothed(line, SMOOTH_SHARE * side) for line in lines]
    pieces = cut(uncertain, smooth, _stretch(smooth, side), GAP_SHARE * side)
    least = max(4, MIN_SHARE * uncertain.size)
    labels = np.zeros(uncertain.shape, np.int32)
    regions = []
    sizes = LARGEST_SHARE * side, REACH_SHARE * side
    groups = merge(pieces, stakes, least, *sizes, MAX_REGIONS)
    for rank, numbers in enumerate(groups, start=1):
        inside = np.isin(pieces, numbers)
        labels[inside] = rank
        pixels = np.argwhere(inside)
        top, left = pixels.min(axis=0)
        bottom, right = pixels.max(axis=0) + 1
        regions.append(
            UncertainRegion(
                rank=rank,
                centre=_inside(pixels),
                box=(int(top), int(left), int(bottom), int(right)),
                area=len(pixels),
                stake=float(stakes[inside].sum()),
                confidence=float(summary.confidence[inside].mean()),
                place="boundary" if near[inside].any() else "apart",
            )
        )
    return tuple(regions), labels


def shape_of(region: Bool) -> Bool:
    """Return a region ``(H, W)`` with its small pieces joined, for a continuous outline."""
    return closed(region, REACH_SHARE * max(region.shape))


def enlarged(region: UncertainRegion, step: int, shape: tuple[int, int]) -> UncertainRegion:
    """Return a region that was found on a grid of `step` pixels in pixels of its plane."""
    top, left, bottom, right = (side * step for side in region.box)
    row, column = (
        min(at * step + step // 2, n - 1) for at, n in zip(region.centre, shape, strict=True)
    )
    return replace(
        region,
        centre=(row, column),
        box=(top, left, min(bottom, shape[0]), min(right, shape[1])),
        area=region.area * step * step,
        stake=region.stake * step * step,
    )


def _stretch(outline: list[NDArray[np.float64]], side: int) -> float:
    """Return how long a stretch of outline may be, so that `MAX_REGIONS` of them are enough."""
    total = sum(map(length, outline))
    return min(max(LONGEST_SHARE * side, total / MAX_REGIONS), LARGEST_SHARE * side)


def _stakes(probability: Float32) -> Float32:
    if probability.ndim == 2:
        return np.minimum(probability, 1 - probability)
    return np.asarray(1 - probability.max(axis=0), np.float32)


def _outline(mask: Bool) -> list[NDArray[np.float64]]:
    # The frame closes outlines along the image's border.
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [line - 1 for line in lines]


def _near(shape: tuple[int, ...], outline: list[NDArray[np.float64]], reach: float) -> Bool:
    off = np.ones(shape, bool)
    for line in outline:
        rows, columns = np.rint(line).astype(int).T
        off[rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1)] = False
    if off.all():
        return ~off
    return np.asarray(ndimage.distance_transform_edt(off) <= reach)


def _inside(pixels: NDArray[np.intp]) -> tuple[int, int]:
    """Return the pixel that is nearest to the centroid of all."""
    away = np.hypot(*(pixels - pixels.mean(axis=0)).T)
    row, column = pixels[int(away.argmin())]
    return int(row), int(column)
