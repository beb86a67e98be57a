"""Merging of proposed labels with the labels of an annotation, as pure array operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError

How = Literal["replace", "union", "intersect"]
"""Set the labels to the mask, add it to them, or erase them outside it."""


def changing_window(current: NDArray[Any], values: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns in which labels are or will be; no other pixels can change."""
    sides = []
    for axis in (1, 0):
        marked = np.flatnonzero(current.any(axis=axis) | values.any(axis=axis))
        sides.append(slice(int(marked[0]), int(marked[-1]) + 1) if marked.size else slice(0, 0))
    return sides[0], sides[1]


def combined(
    current: NDArray[Any], values: NDArray[np.uint8], how: str, classes: Sequence[int]
) -> NDArray[Any]:
    """Return the labels of an annotation after a mask was written into it.

    Parameters
    ----------
    current
        ``(H, W)``, labels of the annotation.
    values
        ``(H, W)``, proposed labels, 0 is background.
    classes
        The labels concerned; others are not erased.

    Raises
    ------
    ImageError
        If `how` is not valid.
    """
    if how not in get_args(How):
        raise ImageError(f"{how!r} is not a way to write a mask; use one of {get_args(How)}.")
    target = current.copy()
    if how == "intersect":
        target[one_of(current, classes) & (current != values)] = 0
        return target
    if how == "replace":
        target[one_of(current, classes)] = 0
    np.copyto(target, values, where=values > 0, casting="unsafe")
    return target


def one_of(values: NDArray[Any], labels: Iterable[int]) -> NDArray[np.bool_]:
    """Return the same as `numpy.isin`, ten times as fast for a few labels."""
    mask = np.zeros(values.shape, bool)
    for label in labels:
        mask |= values == label
    return mask


def protected_pixels(
    current: NDArray[Any], target: NDArray[Any], labels: Iterable[int], preserve: bool
) -> NDArray[np.bool_]:
    """Return the pixels that may not change.

    Parameters
    ----------
    labels
        Labels that may not be overwritten or erased.
    preserve
        Whether no label may be overwritten by another, as with the brush of a Labels layer;
        erasing is still possible then.
    """
    marked = one_of(current, labels)
    if preserve:
        marked |= (current != 0) & (target != 0)
    return np.asarray(marked & (current != target))


def with_other_objects(
    before: NDArray[np.uint8] | None,
    values: NDArray[np.uint8],
    labels: Sequence[int],
    cover: bool,
) -> NDArray[np.uint8]:
    """Return the proposal for a plane after some of its objects were proposed again."""
    if before is None or before.shape != values.shape:
        return values
    kept = np.where(np.isin(before, list(labels)), 0, before)
    free = np.ones(kept.shape, bool) if cover else kept == 0
    return np.where((values > 0) & free, values, kept).astype(np.uint8)
