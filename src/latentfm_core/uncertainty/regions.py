"""Where the samples disagree, place by place, ranked by how much area hangs on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours, label

from latentfm_core.types import Bool, Float32, Summary

Place = Literal["boundary", "apart"]

AGREEMENT = 0.9
"""Below nine of ten a pixel is in doubt."""
RAW_LIMIT = 1 - 4 * AGREEMENT * (1 - AGREEMENT)
"""Raw confidence ``1 - 4 q (1 - q)`` where the share q = `AGREEMENT` of the samples agree."""
ROUNDING = 1e-4
LEAST_SHARE = 1e-4
"""Smaller parts of the image are specks."""
LONGEST_SHARE = 0.2
"""A region is cut where it is longer than this share of the image's longer side."""
NEAR_SHARE = 1 / 64
"""How near to the boundary of the mean mask counts as there, likewise."""
MAX_REGIONS = 20


@dataclass(frozen=True)
class DoubtRegion:
    """One place to look at.

    Attributes
    ----------
    rank
        1 for the region that the most area hangs on; its label in the map of regions.
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
    confidence
        Mean confidence.
    place
        Along the outline of the mean mask, or apart from it.
    """

    rank: int
    centre: tuple[int, int]
    box: tuple[int, int, int, int]
    area: int
    stake: float
    confidence: float
    place: Place


def doubt_regions(
    summary: Summary, max_regions: int = MAX_REGIONS
) -> tuple[tuple[DoubtRegion, ...], NDArray[np.int32]]:
    """Return the regions of low confidence, the weightiest first.

    Connected pixels with a confidence below nine in ten: calibrated, that is 0.9 itself; raw, it
    is the confidence of a pixel that nine of ten samples agree on. Doubt that runs all along the
    outline is cut into stretches, for nobody can settle a whole ring at once.

    Parameters
    ----------
    summary
        The maps of one image.
    max_regions
        The rest, on which less hangs, is left out.

    Returns
    -------
    regions
        In the order of their rank.
    labels
        ``(H, W)`` int32; 0 outside, else the rank of the region.
    """
    limit = AGREEMENT if summary.calibrated else RAW_LIMIT
    # Nine of ten samples are no doubt, however the variance was rounded.
    doubtful = summary.confidence < limit - ROUNDING
    stakes = _stakes(summary.mean_probability)
    side = max(doubtful.shape)
    outline = _outline(summary.mean_mask != 0)
    near = _near(doubtful.shape, outline, max(1.5, NEAR_SHARE * side))
    parts = _cut(doubtful, outline, LONGEST_SHARE * side)
    # Noise makes thousands of specks: only what is kept is looked at one by one.
    areas = np.bincount(parts.ravel())
    weights = np.bincount(parts.ravel(), stakes.ravel())
    large = np.flatnonzero(areas >= max(4, LEAST_SHARE * doubtful.size))
    kept = sorted(large[large > 0], key=lambda part: (-weights[part], part))[:max_regions]
    boxes = ndimage.find_objects(parts)
    labels = np.zeros(doubtful.shape, np.int32)
    regions = []
    for rank, part in enumerate(kept, start=1):
        window = boxes[part - 1]
        inside = parts[window] == part
        labels[window][inside] = rank
        rows, columns = window
        regions.append(
            DoubtRegion(
                rank=rank,
                centre=_inside(np.argwhere(inside) + np.array([rows.start, columns.start])),
                box=(rows.start, columns.start, rows.stop, columns.stop),
                area=int(areas[part]),
                stake=float(weights[part]),
                confidence=float(summary.confidence[window][inside].mean()),
                place="boundary" if near[window][inside].any() else "apart",
            )
        )
    return tuple(regions), labels


def enlarged(region: DoubtRegion, step: int, shape: tuple[int, int]) -> DoubtRegion:
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


def _cut(doubtful: Bool, outline: list[NDArray[np.float64]], longest: float) -> NDArray[np.int32]:
    """Return labels of connected parts, long ones cut along the outline's length."""
    parts = np.asarray(label(doubtful, connectivity=2), np.int32)
    boxes = ndimage.find_objects(parts)
    long = [
        number
        for number, box in enumerate(boxes, start=1)
        if max(side.stop - side.start for side in box) > longest
    ]
    if not long or not outline:
        return parts
    rows, columns = np.nonzero(np.isin(parts, long))
    piece = _stretches(np.stack([rows, columns], axis=1), outline, longest)
    pieces = np.zeros_like(parts)
    pieces[rows, columns] = piece
    # Neighbours are connected where they have the same number; parts that are not cut have one
    # beyond those of the stretches.
    rest = (parts > 0) & (pieces == 0)
    pieces[rest] = parts[rest] + int(piece.max())
    return np.asarray(label(pieces, connectivity=2), np.int32)


def _stretches(
    pixels: NDArray[np.intp], outline: list[NDArray[np.float64]], longest: float
) -> NDArray[np.int32]:
    """Return, for each pixel, the number of the stretch of outline that is nearest."""
    numbers, offset = [], 1
    for line in outline:
        steps = np.hypot(*np.diff(line, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(1, math.ceil(along[-1] / longest))
        numbers.append(offset + np.minimum(count - 1, along * count // max(along[-1], 1e-9)))
        offset += count
    _, nearest = cKDTree(np.concatenate(outline)).query(pixels)
    return np.concatenate(numbers)[nearest].astype(np.int32)


def _inside(pixels: NDArray[np.intp]) -> tuple[int, int]:
    """Return the pixel that is nearest to the centroid of all."""
    away = np.hypot(*(pixels - pixels.mean(axis=0)).T)
    row, column = pixels[int(away.argmin())]
    return int(row), int(column)
