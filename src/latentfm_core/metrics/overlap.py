"""Overlap of masks: Dice and IoU.

Two empty masks agree fully: both metrics are then 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentfm_core.types import Bool, reject_masked

Float64 = NDArray[np.float64]

CHUNK = 2**18
"""Pixels compared at once by `pairwise_iou`."""


def dice(first: Bool, second: Bool) -> float:
    """Return 2 |A and B| / (|A| + |B|) of two boolean masks of equal shape, in [0, 1].

    Raises
    ------
    ValueError
        If the masks are not boolean or differ in shape.
    """
    both, total = _counts(first, second)
    return 2 * both / total if total else 1.0


def iou(first: Bool, second: Bool) -> float:
    """Return |A and B| / |A or B| of two boolean masks of equal shape, in [0, 1].

    Raises
    ------
    ValueError
        If the masks are not boolean or differ in shape.
    """
    both, total = _counts(first, second)
    return both / (total - both) if total else 1.0


def pairwise_iou(first: Bool, second: Bool) -> Float64:
    """Return the IoU ``(N, M)`` of each mask of one stack with each of another.

    Parameters
    ----------
    first, second
        ``(N, ...)`` and ``(M, ...)`` bool; the shapes agree after the first axis.

    Raises
    ------
    ValueError
        If the masks are not boolean or differ in shape.
    """
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"masks differ in shape: {first.shape[1:]} and {second.shape[1:]}")
    rows, columns = _flat(first), _flat(second)
    both = np.zeros((len(rows), len(columns)))
    # All intersections of a chunk of pixels are one matrix product. Chunks bound the memory,
    # and stay below 2^24 pixels, where float32 would begin to miscount.
    for start in range(0, rows.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        both += np.matmul(rows[:, part].astype(np.float32), columns[:, part].astype(np.float32).T)
    areas = np.count_nonzero(rows, axis=1)[:, None] + np.count_nonzero(columns, axis=1)[None]
    result: Float64 = np.ones_like(both)
    np.divide(both, areas - both, out=result, where=areas > 0)
    return result


def _flat(masks: Bool) -> Bool:
    reject_masked(masks, "masks")
    if masks.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {masks.dtype}")
    return masks.reshape(masks.shape[0], -1)


def _counts(first: Bool, second: Bool) -> tuple[int, int]:
    for mask in (first, second):
        reject_masked(mask, "mask")
    if first.shape != second.shape:
        raise ValueError(f"masks differ in shape: {first.shape} and {second.shape}")
    if first.dtype != np.bool_ or second.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {first.dtype} and {second.dtype}")
    both = int(np.count_nonzero(first & second))
    return both, int(np.count_nonzero(first)) + int(np.count_nonzero(second))
