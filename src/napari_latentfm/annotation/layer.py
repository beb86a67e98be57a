"""The annotation: one Labels layer per image, written in single undo steps.

`layer.data = x` would keep the undo history of the old data, so that Ctrl+Z would corrupt the new
data. Everything here is therefore written like a painted stroke.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Labels

from latentfm_core.colours import label_colour
from latentfm_core.errors import ImageError
from napari_latentfm.layers.annotation_record import Record, record_of
from napari_latentfm.layers.painting import check_unlocked
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane
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

    None if nothing is under review, or there is no annotation and `create` is False.

    Parameters
    ----------
    create
        Whether to add an empty annotation to the viewer if there is none.
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
    reviewed = under_review(session)
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


def under_review(session: ReviewSession) -> Reviewed:
    """Return what is under review; raise `ImageError` if nothing is."""
    if session.current is None:
        raise ImageError("No samples yet. Run the model on an image first.")
    return session.current


def writable_annotation(session: ReviewSession) -> Labels:
    """Return the annotation of what is under review, created if there is none.

    Raises
    ------
    ImageError
        If nothing is under review, or the annotation is locked.
    """
    reviewed = under_review(session)
    layer = annotation_on(session.viewer, reviewed.layer, reviewed.plane)
    layer = _create(session, reviewed) if layer is None else layer
    check_unlocked(layer)
    return layer


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
        colormap=label_colours(reviewed.result.samples.colours),
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


def label_colours(own: Sequence[str] = ()) -> Any:
    """Return the colours of all labels; `own` are the model's of its classes, if it has any."""
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {0: "transparent", None: OTHER_COLOUR}
    for label in range(1, MAX_LABEL + 1):
        colours[label] = label_colour(label, own)
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
