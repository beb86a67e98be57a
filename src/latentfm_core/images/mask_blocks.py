"""Go through large masks in blocks of rows, so that a check takes little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.types import Bool

_PIECE = 2**17
"""Pixels of a block."""
_AROUND = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]


def blocks(planes: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield blocks ``(R + 2, W + 2)`` of the rows of ``(..., H, W)``, and their first row.

    A pixel around each block is from its neighbours; beyond the border, edge pixels repeat.
    """
    height, width = planes.shape[-2:]
    rows = max(1, _PIECE // max(1, width))
    for plane in planes.reshape(-1, height, width):
        for start in range(0, height, rows):
            taken = np.arange(start - 1, min(start + rows, height) + 1).clip(0, height - 1)
            yield start, np.pad(plane[taken], ((0, 0), (1, 1)), mode="edge")


def inner(block: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels of a block without those around it."""
    return block[1:-1, 1:-1]


def around(block: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the eight neighbours of the pixels of a block, row by row."""
    rows, columns = block.shape[0] - 2, block.shape[1] - 2
    return [block[down : down + rows, right : right + columns] for down, right in _AROUND]


def lowest_neighbour(block: NDArray[Any]) -> NDArray[Any]:
    """Return the minimum of each pixel and its four neighbours."""
    lowest = inner(block)
    for at in (1, 3, 4, 6):
        lowest = np.minimum(lowest, around(block)[at])
    return lowest


def in_square(block: NDArray[Any]) -> Bool:
    """Return which pixels are part of 2 x 2 pixels of one value."""
    same = [each == inner(block) for each in around(block)]
    corners = [(0, 1, 3), (1, 2, 4), (3, 5, 6), (4, 6, 7)]
    found: Bool = np.logical_or.reduce([same[a] & same[b] & same[c] for a, b, c in corners])
    return found
