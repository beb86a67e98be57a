"""The annotation: one Labels layer per image, written in single undo steps.

`layer.data = x` would keep the undo history of the old data, so that Ctrl+Z would corrupt the new
data. Everything here is therefore written like a painted stroke.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.palette import label_colour
from latentfm_core.errors import ImageError
from napari_latentfm.annotation.merging import (
    How,
    changing_window,
    combined,
    protected_pixels,
    with_other_objects,
)
from napari_latentfm.annotation.proposals import record_proposal
from napari_latentfm.layers.annotation_record import MEAN_MASK, Record, record_of
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import Plane, index_slices, placement, plane_index
from napari_latentfm.layers.specs import OTHER_COLOUR
from napari_latentfm.layers.stacking import add_above

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentfm.results.session import Reviewed, ReviewSession

MAX_LABEL = 255
"""Highest label; the annotation is uint8."""
STROKE_EVENTS = ("paint", "labels_update", "set_data", "data")
"""Events of a Labels layer after an edit; undo and redo emit only ``set_data``."""


def annotation_of(session: ReviewSession, create: bool = True) -> Labels | None:
    """Return the annotation layer of what is under review.

    It covers all planes of the image layer. A copy that the user made of an annotation does not
    count.

    Parameters
    ----------
    session
        The session with the result under review.
    create
        Whether to add an empty annotation to the viewer if there is none.

    Returns
    -------
    Labels or None
        None if nothing is under review, or there is no annotation and `create` is False.
    """
    reviewed = session.current
    if reviewed is None:
        return None
    layer = annotation_on(session.viewer, reviewed.layer, reviewed.plane)
    return _create(session, reviewed) if layer is None and create else layer


def annotation_on(viewer: ViewerModel, image: Image, plane: Plane) -> Labels | None:
    """Return the annotation layer of an image, or None; the image need not be under review."""
    for layer in viewer.layers:
        if _belongs(layer, image, plane):
            return layer
    return None


def adopt(session: ReviewSession, layer: Labels) -> None:
    """Make a Labels layer, such as one opened from a file, the annotation of the image.

    A previous annotation stays as an ordinary layer.

    Raises
    ------
    ImageError
        If nothing is under review, the layer's shape is not that of the image, or the layer
        cannot be painted.
    """
    reviewed = _reviewed(session)
    wanted = reviewed.plane.layer_shape
    if tuple(layer.data.shape) != wanted:
        raise ImageError(
            f"{layer.name!r} has the shape {tuple(layer.data.shape)}, but the image "
            f"{reviewed.layer.name!r} has {wanted}. Choose the annotation of this image."
        )
    if not isinstance(layer.data, np.ndarray):
        raise ImageError(
            f"{layer.name!r} is loaded lazily and cannot be painted. Save it as TIFF and "
            "open that file."
        )
    old = annotation_of(session, create=False)
    if old is not None and old is not layer:
        record_of(old).layer_id = ""
    record = record_of(layer)
    record.source_id, record.layer_id = str(reviewed.layer.unique_id), str(layer.unique_id)
    _count_strokes(layer)


def write_mask(
    session: ReviewSession,
    mask: NDArray[Any],
    how: How | str = "replace",
    region: NDArray[Any] | None = None,
    label: int | None = None,
    origin: str | None = None,
) -> int:
    """Write a mask into the annotation of the plane under review, as one undo step.

    Parameters
    ----------
    session
        The session with the result under review.
    mask
        ``(H, W)`` bool.
    how
        ``"replace"`` sets `label` to the mask, ``"union"`` adds the mask to it, and
        ``"intersect"`` erases it outside the mask.
    region
        ``(H, W)`` bool, outside of which nothing changes; None for the whole plane.
    label
        The label to write, 1 to 255; None for that of the object under review, else 1.
    origin
        Name of the mask for the provenance; None looks it up among the samples.

    Returns
    -------
    int
        Number of changed pixels. Protected labels do not change: those in the annotation's
        record, and with the layer's ``preserve_labels`` all but `label`.

    Raises
    ------
    ImageError
        If nothing is under review, a shape is wrong or the annotation is locked.
    """
    chosen = np.asarray(mask).astype(bool, copy=False)
    if label is None:
        return write_labels(session, chosen.astype(np.uint8), how, region, None, origin)
    if not 1 <= label <= MAX_LABEL:
        raise ImageError(f"The label {label} cannot be written; choose one from 1 to {MAX_LABEL}.")
    return write_labels(session, chosen * np.uint8(label), how, region, (label,), origin)


def write_objects(session: ReviewSession, masks: Mapping[int, NDArray[Any]]) -> int:
    """Write the masks of several prompted objects, as one undo step.

    Where masks overlap, the lower label is written; other labels are kept unless the session's
    ``cover_others`` is set.

    Parameters
    ----------
    session
        The session; an object of the plane must be under review.
    masks
        ``(H, W)`` bool by label.

    Returns
    -------
    int
        Number of changed pixels.

    Raises
    ------
    ImageError
        As `write_labels`.
    """
    values = np.zeros(_reviewed(session).plane.shape, np.uint8)
    for label in sorted(masks, reverse=True):
        values[np.asarray(masks[label]).astype(bool)] = label
    return write_labels(session, values, classes=sorted(masks), origin=MEAN_MASK)


def write_labels(
    session: ReviewSession,
    labels: NDArray[Any],
    how: How | str = "replace",
    region: NDArray[Any] | None = None,
    classes: Sequence[int] | None = None,
    origin: str | None = None,
) -> int:
    """Write labels of several classes into the annotation, as one undo step.

    A prompted object is written with its own label, whatever value `labels` has inside, and does
    not overwrite other labels unless the session's ``cover_others`` is set.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    classes
        The labels concerned; others in the annotation are not erased. None for the object
        under review, else 1 to the number of classes of the model.
    session, how, region, origin
        As in `write_mask`.

    Returns
    -------
    int
        Number of changed pixels.

    Raises
    ------
    ImageError
        As `write_mask`.
    """
    reviewed = _reviewed(session)
    values, classes = _values(reviewed, labels, classes)
    inside = None if region is None else np.asarray(region).astype(bool, copy=False)
    for array in (values, inside):
        if array is not None and array.shape != reviewed.plane.shape:
            raise ImageError(
                f"A mask of {array.shape} does not fit the plane of {reviewed.plane.shape} pixels."
            )
    layer = _writable_annotation(session)
    record = record_of(layer)
    view = layer.data[plane_index(reviewed.plane)]
    window = changing_window(view, values)
    current = view[window]
    target = combined(current, values[window], how, classes)
    preserve = bool(layer.preserve_labels)
    changed = (target != current) & ~protected_pixels(current, target, record.protected, preserve)
    if reviewed.label is not None:
        cover = session.cover_others
        if not cover:
            changed &= (current == 0) | np.isin(current, list(classes))
        before = record.proposals.get(reviewed.plane.index)
        others = None if before is None else before.labels
        values = with_other_objects(others, values, classes, cover)
    if inside is not None:
        changed &= inside[window]
    record_proposal(record, reviewed, values, how, origin)
    # Ctrl+Z acts on the active layer, and must undo this.
    session.viewer.layers.selection.active = layer
    count = _paint(layer, record, reviewed.plane, window, changed, target)
    if how == "replace" and region is None:
        session.taken.emit()
    return count


def _values(
    reviewed: Reviewed, labels: NDArray[Any], classes: Sequence[int] | None
) -> tuple[NDArray[np.uint8], Sequence[int]]:
    """Return the labels to write, and the labels that this concerns."""
    given = np.asarray(labels)
    values = given.view(np.uint8) if given.dtype == bool else given.astype(np.uint8, copy=False)
    if classes is not None:
        return values, classes
    if reviewed.label is not None:
        return (values > 0) * np.uint8(reviewed.label), (reviewed.label,)
    return values, range(1, len(reviewed.result.samples.classes) + 1)


def _writable_annotation(session: ReviewSession) -> Labels:
    layer = annotation_of(session)
    if layer is None:
        raise ImageError("Nothing is under review. Draw samples of an image first.")
    if getattr(layer, "locked", False) or not layer.editable:
        raise ImageError(f"{layer.name!r} is locked. Unlock the layer to change it.")
    return layer


def write_pixels(
    layer: Labels,
    plane: Plane,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    values: NDArray[Any],
) -> None:
    """Write labels into pixels of a plane of the annotation, as one undo step.

    Parameters
    ----------
    layer, plane
        The annotation and the plane.
    rows, columns, values
        ``(P,)``: the pixels and their new labels. Without pixels there is no undo step.
    """
    if not rows.size:
        return
    within = iter((rows, columns))
    indices = tuple(
        next(within) if position is None else np.full(rows.size, position)
        for position in plane.index
    )
    with layer.block_history():
        layer.data_setitem(indices, values)


def edited_pixels(layer: Labels) -> dict[tuple[int | None, ...], int]:
    """Return the number of pixels that differ from the proposal, for each plane with one."""
    counts = {}
    for index, proposal in record_of(layer).proposals.items():
        view = layer.data[index_slices(index)]
        counts[index] = int(np.count_nonzero(view != proposal.labels))
    return counts


def _reviewed(session: ReviewSession) -> Reviewed:
    if session.current is None:
        raise ImageError("Nothing is under review. Draw samples of an image first.")
    return session.current


def _belongs(layer: Layer, image: Image, plane: Plane) -> TypeGuard[Labels]:
    if not isinstance(layer, Labels) or not Record.is_in(layer):
        return False
    record = record_of(layer)
    return (
        record.layer_id == str(layer.unique_id)
        and record.source_id == str(image.unique_id)
        and tuple(layer.data.shape) == plane.layer_shape
    )


def _create(session: ReviewSession, reviewed: Reviewed) -> Labels:
    layer = Labels(
        np.zeros(reviewed.plane.layer_shape, np.uint8),
        name=f"{reviewed.layer.name} · annotation",
        opacity=0.5,
        colormap=label_colours(),
        # Hidden until it is complete, so that it is drawn once.
        visible=False,
        **placement(reviewed.layer, reviewed.plane.first()),
    )
    record = record_of(layer)
    record.source_id, record.layer_id = str(reviewed.layer.unique_id), str(layer.unique_id)
    add_above(session.viewer, layer, reviewed.layer)
    layer.visible = True
    _count_strokes(layer)
    return layer


def label_colours() -> Any:
    """Return Okabe-Ito colours for all labels; they repeat after the seventh."""
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {0: "transparent", None: OTHER_COLOUR}
    for label in range(1, MAX_LABEL + 1):
        colours[label] = label_colour(label)
    return DirectLabelColormap(color_dict=colours, background_value=0)


def _count_strokes(layer: Labels) -> None:
    record = record_of(layer)
    if not record.counted:
        record.counted = True
        # The callback must not hold the layer, which holds the callback.
        layer.events.paint.connect(partial(_on_stroke, record))


def _on_stroke(record: Record, _event: Any = None) -> None:
    record.spend(time.monotonic())
    if not record.writing:
        record.strokes += 1


def _paint(
    layer: Labels,
    record: Record,
    plane: Plane,
    window: tuple[slice, slice],
    changed: NDArray[np.bool_],
    target: NDArray[Any],
) -> int:
    sides = iter(window)
    box = [next(sides) if at is None else slice(at, at + 1) for at in plane.index]
    record.writing = True
    try:
        return paint_where(layer, box, plane.embed(changed), plane.embed(target))
    finally:
        record.writing = False
