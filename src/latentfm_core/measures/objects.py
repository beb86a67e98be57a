"""Area, longest diameter and perimeter of each object of an annotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.measures.outlines import Piece, perimeter, pieces_of
from latentfm_core.measures.size import area, feret
from latentfm_core.types import check_labels


@dataclass(frozen=True)
class PixelSize:
    """Size of a pixel.

    Attributes
    ----------
    row, column
        Distance of two rows and of two columns, in `unit`; they may differ.
    unit
        Symbol of the unit, such as ``"mm"`` or ``"µm"``.
    """

    row: float
    column: float
    unit: str

    @property
    def spacing(self) -> tuple[float, float]:
        """``(row, column)``."""
        return self.row, self.column


@dataclass(frozen=True)
class Sizes:
    """Sizes of one object in one unit.

    Attributes
    ----------
    area
        Of all pieces, in square units.
    diameter
        Maximum Feret diameter: the longest distance between two points of the largest piece.
    perimeter
        Length of all outlines, those of holes too.
    """

    area: float
    diameter: float
    perimeter: float


@dataclass(frozen=True)
class MeasuredObject:
    """One object of an annotation.

    Attributes
    ----------
    number
        Number of the object in its plane, from 1.
    label
        Its label.
    pieces
        Number of connected pieces; pixels that touch at a corner belong together.
    pixels
        Sizes in pixels.
    physical
        Sizes in the unit of the pixel size; None if that is unknown.
    """

    number: int
    label: int
    pieces: int
    pixels: Sizes
    physical: Sizes | None


def objects_of(
    labels: NDArray[Any], separate: bool = False
) -> Iterator[tuple[int, tuple[Piece, ...]]]:
    """Yield label and pieces of each object of a plane ``(H, W)``, in the order of the labels.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    separate
        Whether each connected piece of a label is a separate object, as with cells that all
        have the label of their class. Else all pieces of a label are one object.

    Raises
    ------
    ImageError
        If labels are masked or negative.
    """
    check_labels(labels, "labels")
    values = np.asarray(labels)
    present = [int(value) for value in np.unique(values) if value]
    if not present:
        return
    # Labels up to 2**32 - 1 are possible; places count from 1 without gaps.
    places = np.searchsorted(present, values) + 1 if present[-1] > len(present) else values
    places = np.where(values == 0, 0, places) if places is not values else values
    for label, box in zip(present, ndimage.find_objects(places.astype(np.int64)), strict=True):
        pieces = tuple(
            Piece(piece.mask, piece.top + box[0].start, piece.left + box[1].start)
            for piece in pieces_of(np.asarray(values[box] == label))
        )
        if separate:
            yield from ((label, (piece,)) for piece in pieces)
        else:
            yield label, pieces


def measure_objects(
    labels: NDArray[Any], size: PixelSize | None = None, separate: bool = False
) -> tuple[MeasuredObject, ...]:
    """Measure the objects of a plane, in the order of the labels.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    size
        Size of a pixel; None if it is unknown.
    separate
        As in `objects_of`.
    """
    return tuple(
        MeasuredObject(
            number,
            label,
            len(pieces),
            _sizes(pieces, (1.0, 1.0)),
            None if size is None else _sizes(pieces, size.spacing),
        )
        for number, (label, pieces) in enumerate(objects_of(labels, separate), 1)
    )


def _sizes(pieces: tuple[Piece, ...], spacing: tuple[float, float]) -> Sizes:
    largest = max(pieces, key=lambda piece: piece.pixels)
    return Sizes(
        area(sum(piece.pixels for piece in pieces), spacing),
        feret(largest.mask, spacing),
        sum(perimeter(piece, spacing) for piece in pieces),
    )
