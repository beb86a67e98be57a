"""The marked objects of a plane with their sizes: one object per label, with all its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.measures.outlines import Piece, perimeter, pieces_of
from latentfm_core.measures.size import PIXELS, Spacing, area, feret


@dataclass(frozen=True)
class MarkedObject:
    """All pixels of one label.

    Attributes
    ----------
    label
        Its number.
    pieces
        Its connected pieces; pixels that touch at a corner belong together.
    """

    label: int
    pieces: tuple[Piece, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return sum(piece.pixels for piece in self.pieces)

    def area(self, spacing: Spacing = PIXELS) -> float:
        """Return the area of all pieces, in square units of the pixel size."""
        return area(self.pixels, spacing)

    def diameter(self, spacing: Spacing = PIXELS) -> float:
        """Return the maximum Feret diameter of the largest piece, in units of the pixel size."""
        largest = max(self.pieces, key=lambda piece: piece.pixels)
        return feret(largest.mask, spacing)

    def perimeter(self, spacing: Spacing = PIXELS) -> float:
        """Return the length of the outlines of all pieces and holes, in units."""
        return sum(perimeter(piece, spacing) for piece in self.pieces)


def objects_of(labels: NDArray[Any]) -> Iterator[MarkedObject]:
    """Yield the objects of a plane ``(H, W)`` of integer labels, in the order of the labels."""
    values, numbers = np.unique(labels, return_inverse=True)
    # Numbered from 0 without gaps: a label may be as high as 2**32 - 1.
    if values.size and values[0] == 0:
        values = values[1:]
    else:
        numbers = numbers + 1
    numbers = numbers.reshape(labels.shape)
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        top, left = box[0].start, box[1].start
        pieces = pieces_of(numbers[box] == number)
        moved = (replace(p, top=p.top + top, left=p.left + left) for p in pieces)
        yield MarkedObject(int(values[number - 1]), tuple(moved))
