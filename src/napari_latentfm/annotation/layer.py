"""The annotation: one Labels layer per image, written in single undo steps.

`layer.data = x` would leave an undo history that belongs to older data, so that Ctrl+Z would
corrupt the new. Everything here is therefore written as a painted stroke is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.palette import label_colour
from latentfm_core.errors import ImageError
from napari_latentfm.layers.annotation_record import MEAN_MASK, Proposal, Record, record_of
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import Plane, index_slices, placement, plane_index
from napari_latentfm.layers.pyramid import is_large
from napari_latentfm.layers.specs import OTHER_COLOUR
from napari_latentfm.layers.stacking import add_above

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentfm.results.session import Reviewed, ReviewSession

How = Literal["replace", "union", "intersect"]

MAX_LABEL = 255
"""Highest label; the annotation is uint8."""
STROKE_EVENTS = ("paint", "labels_update", "set_data", "data")
"""What a Labels layer may emit after an edit; undo and redo emit no more than ``set_data``."""


def annotation_of(session: ReviewSession, create: bool = True) -> Labels | None:
    """Return the annotation layer of what is under review.

    It covers all planes of the image layer and lies on it. A copy that the user made of an
    annotation is not taken for it.

    Parameters
    ----------
    session
        Whose review.
    create
        Whether to add an empty annotation to the viewer if there is none.

    Returns
    -------
    Labels or None
        None if nothing is under review, or nothing is there and `create` is False.
    """
    reviewed = session.current
    if reviewed is None:
        return None
    found = annotation_on(session.viewer, reviewed.layer, reviewed.plane)
    return _create(session, reviewed) if found is None and create else found


def annotation_on(viewer: ViewerModel, image: Image, plane: Plane) -> Labels | None:
    """Return the annotation layer of an image, or None, whatever is under review."""
    for layer in viewer.layers:
        if _belongs(layer, image, plane):
            return layer
    return None


def adopt(session: ReviewSession, layer: Labels) -> None:
    """Make a Labels layer, such as one opened from a file, the annotation of the image.

    An annotation that was there before stays as an ordinary layer of the user's.

    Raises
    ------
    ImageError
        If nothing is under review, or the layer's shape is not that of the image, or its
        values are no integers that can be painted.
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
            f"{layer.name!r} is loaded piece by piece and cannot be painted. Save it as TIFF and "
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
        Whose review.
    mask
        ``(H, W)`` bool.
    how
        ``"replace"`` makes `label` what the mask says, ``"union"`` adds the mask to it,
        ``"intersect"`` keeps of it what is in the mask too.
    region
        ``(H, W)`` bool, outside of which nothing changes; None is everywhere.
    label
        The label to write, 1 to 255; None: that of the object under review, else 1.
    origin
        What the mask is, for the provenance; None looks it up among the samples.

    Returns
    -------
    int
        Number of changed pixels. Protected labels do not change: those that the annotation's
        record lists, and with the layer's ``preserve_labels`` all but `label`.

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
    """Write masks of several objects that were pointed at, as one undo step.

    Where masks overlap, the lower label is written; other labels are kept unless the session's
    ``cover_others`` is set.

    Parameters
    ----------
    session
        Whose review; an object of the plane must be under review.
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

    An object that was pointed at is written with its own label, whatever value `labels` has
    inside, and keeps away from other labels unless the session's ``cover_others`` is set.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    classes
        The labels that this is about; others in the annotation are not erased. None: the
        object under review, else 1 to the number of classes of the model.
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
    given = np.asarray(labels)
    values = given.view(np.uint8) if given.dtype == bool else given.astype(np.uint8, copy=False)
    inside = None if region is None else np.asarray(region).astype(bool, copy=False)
    for part in (values, inside):
        if part is not None and part.shape != reviewed.plane.shape:
            raise ImageError(
                f"A mask of {part.shape} does not fit the plane of {reviewed.plane.shape} pixels."
            )
    if classes is None and reviewed.label is not None:
        classes = (reviewed.label,)
        values = (values > 0) * np.uint8(reviewed.label)
    elif classes is None:
        classes = range(1, len(reviewed.result.samples.classes) + 1)
    layer = annotation_of(session)
    if layer is None:
        raise ImageError("Nothing is under review. Draw samples of an image first.")
    if getattr(layer, "locked", False) or not layer.editable:
        raise ImageError(f"{layer.name!r} is locked. Unlock the layer to change it.")
    window = _window(layer.data[plane_index(reviewed.plane)], values)
    current = layer.data[plane_index(reviewed.plane)][window]
    target = _combine(current, values[window], how, classes)
    record = record_of(layer)
    changed = (target != current) & ~_protected(layer, record, current, target)
    if reviewed.label is not None:
        if not session.cover_others:
            changed &= (current == 0) | np.isin(current, list(classes))
        before = record.proposals.get(reviewed.plane.index)
        values = _among_others(before, values, classes, session.cover_others)
    if inside is not None:
        changed &= inside[window]
    _note_proposal(record, reviewed, values, how, origin)
    # Ctrl+Z is for the layer in hand, and has to take this back.
    session.viewer.layers.selection.active = layer
    count = _paint(layer, record, reviewed.plane, window, changed, target)
    if how == "replace" and region is None:
        session.taken.emit()
    return count


def _among_others(
    before: Proposal | None, values: NDArray[np.uint8], labels: Sequence[int], cover: bool
) -> NDArray[np.uint8]:
    """Return what is proposed for a plane after one object of several was proposed anew."""
    if before is None or before.labels.shape != values.shape:
        return values
    kept = np.where(np.isin(before.labels, list(labels)), 0, before.labels)
    free = np.ones(kept.shape, bool) if cover else kept == 0
    return np.where((values > 0) & free, values, kept).astype(np.uint8)


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
    found = iter((rows, columns))
    indices = tuple(
        next(found) if place is None else np.full(rows.size, place) for place in plane.index
    )
    with layer.block_history():
        layer.data_setitem(indices, values)


def edited_pixels(layer: Labels) -> dict[tuple[int | None, ...], int]:
    """Return, for each plane with a proposal, how many pixels differ from it by now."""
    found = {}
    for index, proposal in record_of(layer).proposals.items():
        view = layer.data[index_slices(index)]
        found[index] = int(np.count_nonzero(view != proposal.labels))
    return found


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
        # Drawn once, when it is complete.
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
        # The function holds the record alone: it lives as long as the layer, which has both.
        layer.events.paint.connect(partial(_on_stroke, record))


def _on_stroke(record: Record, _event: Any = None) -> None:
    record.spend(time.monotonic())
    if not record.writing:
        record.strokes += 1


def _window(current: NDArray[Any], values: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns in which something is or will be marked; no other can change."""
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(current.any(axis=axis) | values.any(axis=axis))
        sides.append(slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0))
    return sides[0], sides[1]


def _combine(
    current: NDArray[Any], values: NDArray[np.uint8], how: str, classes: Sequence[int]
) -> NDArray[Any]:
    if how not in get_args(How):
        raise ImageError(f"{how!r} is no way to write a mask; use one of {get_args(How)}.")
    target = current.copy()
    if how == "intersect":
        target[_one_of(current, classes) & (current != values)] = 0
        return target
    if how == "replace":
        target[_one_of(current, classes)] = 0
    np.copyto(target, values, where=values > 0, casting="unsafe")
    return target


def _one_of(values: NDArray[Any], labels: Iterable[int]) -> NDArray[np.bool_]:
    """Return what `numpy.isin` does, ten times as fast for the few labels that there are."""
    found = np.zeros(values.shape, bool)
    for label in labels:
        found |= values == label
    return found


def _protected(
    layer: Labels, record: Record, current: NDArray[Any], target: NDArray[Any]
) -> NDArray[np.bool_]:
    """Return where a label may not change; a pixel that goes to its own label never does."""
    marked = _one_of(current, record.protected)
    if layer.preserve_labels:
        # As the brush does: nothing is painted over a label. Erasing one's own stays allowed.
        marked |= (current != 0) & (target != 0)
    return np.asarray(marked & (current != target))


def _paint(
    layer: Labels,
    record: Record,
    plane: Plane,
    window: tuple[slice, slice],
    changed: NDArray[np.bool_],
    target: NDArray[Any],
) -> int:
    sides = iter(window)
    whole = [next(sides) if place is None else slice(place, place + 1) for place in plane.index]
    record.writing = True
    try:
        return paint_where(layer, whole, plane.embed(changed), plane.embed(target))
    finally:
        record.writing = False


def _origin_of(reviewed: Reviewed, values: NDArray[np.uint8]) -> str:
    """Return which mask of the result was proposed."""
    summary = reviewed.result.summary
    if reviewed.label is not None:
        values = (values == reviewed.label).astype(np.uint8)
    if np.array_equal(values, summary.mean_mask.astype(np.uint8)):
        return MEAN_MASK
    for place, mask in enumerate(summary.sample_masks):
        if np.array_equal(values, mask.astype(np.uint8)):
            return f"sample {place}"
    return "mask"


def _note_proposal(
    record: Record,
    reviewed: Reviewed,
    values: NDArray[np.uint8],
    how: str,
    origin: str | None,
) -> None:
    """Remember what the model proposed; what a union or a region adds is edited by that."""
    samples = reviewed.result.samples
    found = origin or _origin_of(reviewed, values)
    sample = re.fullmatch(r"sample (\d+)", found)
    seed = samples.seeds[0 if sample is None else int(sample[1])]
    record.spend(time.monotonic())
    # The mean mask of a large image cannot be painted on, and a copy would take long.
    mean = reviewed.result.summary.mean_mask
    shared = is_large(reviewed.plane.shape) and np.may_share_memory(values, mean)
    record.proposals[reviewed.plane.index] = Proposal(
        values if shared else values.copy(),
        found,
        how,
        seed,
        samples.model_id,
        samples.model_hash,
        dict(samples.settings),
        reviewed.result.summary.domain_score,
    )
