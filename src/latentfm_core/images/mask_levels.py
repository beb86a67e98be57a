"""Tell numbers of objects or classes in a mask from grey levels between two values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import different_values, listed
from latentfm_core.images.mask_blocks import around as neighbours
from latentfm_core.images.mask_blocks import blocks, inner, lowest_neighbour
from latentfm_core.images.mask_rims import are_layers
from latentfm_core.names import shown

KEEP = "--keep-numbers (data.reading.keep_numbers)"
"""The setting that reads such masks as they are."""
LABELS = 8
"""Up to this value, levels are numbers, and a threshold separates numbers."""
SCATTER = 8
"""Levels around black and white, of 255, that are noise of lossy compression."""
_NOISE = 4 * SCATTER
"""The same near an edge."""
_SAMPLED = 200_000
"""Pixels examined."""
_EDGES = 0.5
"""Minimum share of in-between pixels that touch both lower and higher ones for a soft edge."""
_SOME_EDGES = 0.06
"""The same for soft edges around areas of other levels."""
_AREAS_BY_VALUE = 0.8
"""Minimum share of pixels that are part of an area, as the mean over values, for numbers."""
_AREAS = 0.6
"""Minimum share of in-between pixels that are part of an area for their values to be numbers."""
_ALL_AREAS = 0.95
"""The same for values that could be noise around black and white."""
_STRAY = 3
"""Pixels that are too few for a soft edge: each becomes an object, as it would by hand."""
_STRAYS = 0.02
"""The same as a share of the outline of all objects."""
_SHARED = 0.05
"""Most of the outline of the highest value that may touch the lowest, around a class of borders."""
_MANY = 0.3
"""Share of the range of values that levels without gaps between them cover at least."""
_LEVEL_PIXELS = 9
"""Minimum pixels of a level."""


def are_numbers(grey: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether values are numbers of objects or classes rather than levels along an edge.

    Numbers cover areas, or single pixels on the background. Levels of a smoothed edge lie between
    a lower and a higher neighbour, and those that lossy compression left are scattered.

    Parameters
    ----------
    grey
        ``(..., H, W)`` of the mask.
    values
        Its unique values, sorted.
    """
    if grey.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return False
    if values.size < 3 or values[-1] <= LABELS or _are_consecutive(values[1:]):
        return True
    planes = grey.reshape(-1, *grey.shape[-2:])
    between, outline, shared = _outlines(planes, values)
    if between <= max(_STRAY, _STRAYS * outline) or (values.size == 3 and shared <= _SHARED):
        return True
    if are_layers(planes, values):
        return True
    own, around = _sampled(planes, values, max(1, between // _SAMPLED))
    on_edge = ((around < own).any(axis=0) & (around > own).any(axis=0)).mean()
    same = around == own
    in_area = same.sum(axis=0) >= 2
    alone = (same | (around == values[0])).all(axis=0)
    if on_edge >= _EDGES or (
        on_edge >= _SOME_EDGES and _mean_by(own, in_area | alone) < _AREAS_BY_VALUE
    ):
        return False
    scattered = _scattered(values.astype(np.float64))
    if scattered:
        return bool(in_area.mean() >= (_ALL_AREAS if scattered > 1 else _AREAS))
    return bool((in_area | alone).mean() >= _AREAS)


def levels_of(grey: NDArray[Any]) -> list[float]:
    """Return the grey levels ``(H, W)`` that cover areas, noise of compression aside.

    Of many levels without gaps between them, some are returned.
    """
    span = float(grey.max()) - float(grey.min())
    noise = SCATTER if grey.dtype == np.uint8 else span * SCATTER / 255
    wide = np.float64 if grey.dtype.itemsize > 2 else np.float32
    values, counts = np.empty(0, wide), np.empty(0, np.intp)
    for _, block in blocks(grey):
        own, beside = inner(block), neighbours(block)
        highest, lowest = (f.reduce([own, *beside]) for f in (np.maximum, np.minimum))
        flat = own[highest.astype(wide) - lowest <= noise].astype(wide)
        new, more = np.unique(flat, return_counts=True)
        values, index = np.unique(np.concatenate([values, new]), return_inverse=True)
        counts = np.bincount(index, np.concatenate([counts, more])).astype(np.intp)
    groups = np.split(np.arange(values.size), np.flatnonzero(np.diff(values) > noise) + 1)
    levels: set[float] = set()
    for group in groups:
        if counts[group].sum() >= _LEVEL_PIXELS:
            levels.add(float(values[group[counts[group].argmax()]]))
            if np.ptp(values[group]) > span * _MANY:
                levels |= {float(values[group[at]]) for at in (0, group.size // 2, -1)}
    return sorted(levels)


def reject_levels(path: Path, values: NDArray[Any], distinct: NDArray[Any] | None = None) -> None:
    """Reject grey levels where numbers of objects or classes are needed.

    Parameters
    ----------
    values
        ``(..., H, W)``.
    distinct
        Their unique values, sorted, if known.

    Raises
    ------
    ImageError
        If they are grey levels, each of which would become an object.
    """
    distinct = different_values(values) if distinct is None else distinct
    if not are_numbers(values, distinct):
        raise ImageError(
            f"{shown(path)}: its values are grey levels ({listed(distinct)}), not numbers of "
            "objects or classes: edges were smoothed, or lossy compression changed the numbers. "
            "Export it again without smoothing, as PNG or TIFF: objects numbered from 1, or one "
            "object in black and white. If they are numbers, for example of thin layers, set "
            f"{KEEP}."
        )


def _are_consecutive(numbers: NDArray[Any]) -> bool:
    """Return whether numbers follow each other, far from the background: 9, 10, 11."""
    first, last = float(numbers[0]), float(numbers[-1])
    return last - first + 1 == numbers.size < first


def _outlines(planes: NDArray[Any], values: NDArray[Any]) -> tuple[int, int, float]:
    """Return the pixels in between, those of all outlines, and a share of the highest value's.

    That is the share of its outline that touches the lowest value. An edge that was smoothed
    touches both directly in places; a class of borders lies between them everywhere.
    """
    low, high = values[0], values[-1]
    between = outline = touching = count = 0
    for _, block in blocks(planes):
        own, lowest = inner(block), lowest_neighbour(block)
        between += int(np.count_nonzero((own > low) & (own < high)))
        outline += int(np.count_nonzero((own > low) & (lowest == low)))
        of_highest = (own == high) & (lowest < high)
        count += int(np.count_nonzero(of_highest))
        touching += int(np.count_nonzero(of_highest & (lowest == low)))
    return between, outline, touching / count if count else 1.0


def _mean_by(values: NDArray[Any], marked: NDArray[np.bool_]) -> float:
    """Return the mean over different values of the share of pixels that are marked."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return float((np.bincount(index, marked) / counts).mean())


def _sampled(
    planes: NDArray[Any], values: NDArray[Any], step: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return every n-th pixel in between ``(N,)``, and its eight neighbours ``(8, N)``."""
    seen, found = 0, []
    for _, block in blocks(planes):
        own = inner(block)
        at = np.flatnonzero((own > values[0]) & (own < values[-1]))
        rows, columns = np.unravel_index(at[-seen % step :: step], own.shape)
        seen += at.size
        found.append(np.stack([each[rows, columns] for each in (own, *neighbours(block))]))
    every = np.concatenate(found, axis=1)
    return every[0], every[1:]


def _scattered(values: NDArray[np.float64]) -> int:
    """Return at how many of black and white values could be noise; 0 if others are between."""
    gap = int(np.diff(values).argmax())
    below, above = values[: gap + 1], values[gap + 1 :]
    if above[0] - below[-1] < (values[-1] - values[0]) / 2 or max(np.ptp(below), np.ptp(above)) > (
        _NOISE
    ):
        return 0
    return int(below.size > 1) + int(above.size > 1)
