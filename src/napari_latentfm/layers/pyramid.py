"""Pyramids of large arrays, so that napari draws at most about as many pixels as the window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE_PIXELS = 2**20
"""Planes with more pixels than this are shown as a pyramid.

napari erodes the whole plane for an outline, and uploads all of it, in the GUI thread.
"""
COARSEST = 512
"""Largest side of the coarsest level."""


def is_large(shape: Sequence[int]) -> bool:
    """Return whether a plane of `shape` ``(H, W)`` is shown as a pyramid."""
    return shape[0] * shape[1] > LARGE_PIXELS


def pyramid(data: NDArray[Any], axes: Sequence[int]) -> list[NDArray[Any]]:
    """Return `data` and views of half the size each, finest first, without copies.

    A pixel of a coarser level is the central one of those that it represents.

    Parameters
    ----------
    data
        An array in memory.
    axes
        The two axes that are shortened; others keep their length.
    """
    levels, step = [data], 1
    while max(levels[-1].shape[axis] for axis in axes) > COARSEST:
        step *= 2
        index = tuple(
            slice(min(step // 2, (length - 1) // 2), None, step) if axis in axes else slice(None)
            for axis, length in enumerate(data.shape)
        )
        levels.append(data[index])
    return levels


def level_zero(layer: Any) -> Any:
    """Return the array of an Image or Labels layer, the finest level of a multiscale one."""
    return layer.data[0] if layer.multiscale else layer.data


def levels_of(layer: Any) -> list[Any]:
    """Return the arrays of an Image or Labels layer, finest first; one without a pyramid."""
    return list(layer.data) if layer.multiscale else [layer.data]


def finest(data: Any) -> NDArray[Any]:
    """Return data that napari passes to a writer as an array: the finest of several levels."""
    several = isinstance(data, list | tuple) or type(data).__name__ == "MultiScaleData"
    return np.asarray(data[0] if several else data)
