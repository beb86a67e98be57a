"""Changes to an annotation: the pixels that writing labels changes, and how they are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentfm.annotation.merging import (
    changing_window,
    combined,
    protected_pixels,
    with_other_objects,
)
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import Plane, plane_index

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession


@dataclass(frozen=True)
class Change:
    """Pixels of a plane to change.

    Attributes
    ----------
    plane, window
        The plane, and the rows and columns that `where` and `target` cover.
    where, target
        Which pixels change, and the labels after it.
    proposal
        ``(H, W)``, labels of the whole plane as proposed.
    """

    plane: Plane
    window: tuple[slice, slice]
    where: NDArray[np.bool_]
    target: NDArray[Any]
    proposal: NDArray[np.uint8]

    @property
    def box(self) -> list[slice]:
        """One slice for each axis of the layer."""
        sides = iter(self.window)
        return [next(sides) if at is None else slice(at, at + 1) for at in self.plane.index]


def change_of(
    session: ReviewSession,
    layer: Labels,
    plane: Plane,
    values: NDArray[np.uint8],
    classes: Sequence[int],
    how: str,
    is_object: bool,
) -> Change:
    """Return what writing labels into a plane changes; objects spare the labels of others."""
    record = record_of(layer)
    view = layer.data[plane_index(plane)]
    window = changing_window(view, values)
    current = view[window]
    target = combined(current, values[window], how, classes)
    preserve = bool(layer.preserve_labels)
    where = (target != current) & ~protected_pixels(current, target, record.protected, preserve)
    if is_object:
        cover = session.cover_others
        if not cover:
            where &= (current == 0) | np.isin(current, list(classes))
        before = record.proposals.get(plane.index)
        others = None if before is None else before.labels
        values = with_other_objects(others, values, classes, cover)
    return Change(plane, window, where, target, values)


def paint(session: ReviewSession, layer: Labels, changes: Sequence[Change]) -> int:
    """Write changes of planes as one undo step; return the number of changed pixels."""
    # Ctrl+Z acts on the active layer, and must undo this.
    session.viewer.layers.selection.active = layer
    changes = [each for each in changes if each.where.any()]
    if not changes:
        return 0
    return write_where(layer, *_joined(changes))


def write_where(
    layer: Labels, window: Sequence[slice], changed: NDArray[np.bool_], target: NDArray[Any]
) -> int:
    """Write labels as `paint_where`, which does not count as an edit by hand."""
    record = record_of(layer)
    record.writing = True
    try:
        return paint_where(layer, window, changed, target)
    finally:
        record.writing = False


def _joined(
    changes: Sequence[Change],
) -> tuple[list[slice], NDArray[np.bool_], NDArray[Any]]:
    """Return the smallest window of the layer with all changes, where they are, and the labels."""
    parts = [
        (each.box, each.plane.embed(each.where), each.plane.embed(each.target)) for each in changes
    ]
    if len(parts) == 1:
        return parts[0]
    around = [
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*(box for box, _, _ in parts), strict=True)
    ]
    shape = [side.stop - side.start for side in around]
    where, target = np.zeros(shape, bool), np.zeros(shape, changes[0].target.dtype)
    for box, its_where, its_target in parts:
        inner = tuple(
            slice(side.start - outer.start, side.stop - outer.start)
            for side, outer in zip(box, around, strict=True)
        )
        where[inner], target[inner] = its_where, its_target
    return around, where, target
