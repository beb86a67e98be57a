"""Tell layers in a mask, and rims that smooth resizing leaves around numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.images.intensity import different_values
from latentfm_core.images.mask_blocks import around, blocks, in_square, inner, lowest_neighbour

RIMS = 1
"""Grade of a mask whose edges have rims of other numbers."""
SMOOTHED = 2
"""Grade of a mask whose rims have many numbers, as smoothing leaves them."""
_MAX_LAYERS = 64
_MOST = 0.85
"""Minimum share of layers, and of edges between numbers, for the rules of layers to apply."""
_LONG = 0.5
"""Minimum share of the columns or rows that a layer covers."""
_SOFT = 0.3
"""Rim pixels as a share of the outline: at most 0.02 in label images as drawn, above 0.36 in the
same ones resized smoothly (DSB 2018 nuclei and BBBC010 worms, factors 0.5 to 2)."""
_MIXED = 0.5
_ONE_NUMBER = 0.9
_LEAST = 12
"""Minimum pixels of the rims of a mask."""


def are_layers(planes: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether the numbers of ``(..., H, W)`` are layers, such as those of a retina.

    Layers may be one pixel thick, as rims are. They are numbered without gaps from one side to the
    other, each touches only the next ones or the background, and goes through at least half of the
    image. Levels of a smoothed edge skip numbers, and rise towards an object from every side.

    Parameters
    ----------
    values
        The unique values of `planes`, sorted.
    """
    first, last = float(values[0]), float(values[-1])
    if first not in (0, 1) or last > _MAX_LAYERS or values.size != last - first + 1:
        return False
    height, width = planes.shape[-2:]
    covered = [np.zeros((int(last) + 1, side), bool) for side in (width, height)]
    steps = np.zeros((2, 3), np.int64)  # to the right and down: all, those by one, up minus down
    for start, block in blocks(planes):
        own = inner(block).astype(np.int8)
        covered[0][own, np.arange(width)] = True
        covered[1][own, start + np.arange(len(own))[:, np.newaxis]] = True
        for axis, beside in enumerate((around(block)[4], around(block)[6])):
            step = beside.astype(np.int8) - own
            step[(own == 0) | (beside == 0)] = 0
            by_one = np.count_nonzero(np.abs(step) == 1)
            steps[axis] += np.count_nonzero(step), by_one, np.sign(step).sum(dtype=np.int64)
    long = np.maximum(*(each.mean(axis=1) for each in covered))[1:] >= _LONG
    main = steps[np.abs(steps[:, 2]).argmax()]
    return bool(
        long.mean() >= _MOST
        and steps[:, 1].sum() >= _MOST * steps[:, 0].sum()
        and abs(main[2]) >= _MOST * main[0]
    )


def rim_grade(numbers: NDArray[Any]) -> int:
    """Return whether the edges of numbers ``(H, W)`` have rims: 0, `RIMS` or `SMOOTHED`.

    A rim is one pixel wide and lies between a lower and a higher number. A class of borders, one
    number between always the same two, is graded as `RIMS`.
    """
    if numbers.dtype == np.bool_ or int(numbers.max(initial=0)) < 2:
        return 0
    outline = 0
    squares = np.zeros(int(numbers.max()) + 1, np.int64)
    found: list[NDArray[np.int64]] = []
    for _, block in blocks(numbers):
        own, square = inner(block), in_square(block)
        low, high = np.minimum.reduce(around(block)), np.maximum.reduce(around(block))
        outline += int(np.count_nonzero(lowest_neighbour(block) < own))
        squares += np.bincount(own[square], minlength=squares.size)
        rim = (low < own) & (high > own) & ~square
        found.append(np.stack([each[rim].astype(np.int64) for each in (own, low, high)]))
    rims = np.concatenate(found, axis=1)
    if rims.shape[1] < max(_LEAST, _SOFT * outline) or are_layers(
        numbers, different_values(numbers)
    ):
        return 0
    own = rims[0]
    counts = np.bincount(own, minlength=squares.size)
    _, of_pair, pairs = np.unique(rims, axis=1, return_inverse=True, return_counts=True)
    usual = np.zeros(squares.size, np.int64)
    np.maximum.at(usual, own, pairs[of_pair.reshape(-1)])
    has_areas = squares >= counts
    mixed = counts[has_areas].sum() + (counts - usual)[~has_areas].sum()
    several = counts.max() < _ONE_NUMBER * own.size
    return SMOOTHED if several and mixed >= _MIXED * own.size else RIMS
