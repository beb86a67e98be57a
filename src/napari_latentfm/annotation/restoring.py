"""Restore the annotation from labels of a file or of the autosave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.errors import ImageError
from napari_latentfm.annotation.changes import write_where
from napari_latentfm.annotation.layer import (
    adopt,
    annotation_of,
    label_colours,
    under_review,
    writable_annotation,
)
from napari_latentfm.annotation.provenance import carry, remember
from napari_latentfm.layers.painting import check_unlocked
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.stacking import add_above

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.results.session import ReviewSession

UNDO_PIXELS = 2**24
"""Most changed pixels that are restored as an undo step, which takes 34 bytes for each; more
become a new layer."""
REPLACED = "It replaced {:,} painted pixels; Ctrl+Z brings them back."
LEFT = "What was painted before is still in the layer {!r}."


def restore(
    session: ReviewSession, labels: NDArray[Any], sidecar: AnnotationSidecar | None
) -> tuple[Labels, str]:
    """Make labels the annotation of the image under review, as one undo step.

    Parameters
    ----------
    labels
        Integers of the shape of the image; axes of length 1 may be missing.
    sidecar
        Provenance to continue from, or None.

    Returns
    -------
    Labels
        The annotation. If the labels do not fit its type, or are too many for an undo step,
        it is a new layer, and the old one stays as an ordinary layer.
    str
        How to get back what was painted before.

    Raises
    ------
    ImageError
        If nothing is under review, the shape differs, or the annotation is locked.
    """
    reviewed = under_review(session)
    values = _fitting(labels, reviewed)
    layer = writable_annotation(session)
    changed = layer.data != values
    count = int(np.count_nonzero(changed & (layer.data != 0)))
    fits = values.dtype.itemsize <= layer.data.dtype.itemsize
    if fits and np.count_nonzero(changed) <= UNDO_PIXELS:
        _write(layer, changed, values)
        text = REPLACED.format(count) if count else "Ctrl+Z undoes it."
    else:
        text = LEFT.format(layer.name) if count else ""
        colours = reviewed.result.samples.colours
        layer = add_labels(session, reviewed, values, layer.name, colours)
        adopt(session, layer)
    # Ctrl+Z acts on the active layer, and must undo this.
    session.viewer.layers.selection.active = layer
    remember(layer, reviewed)
    if sidecar is not None:
        carry(layer, sidecar)
        session.restored.emit(sidecar)
    return layer, text


def erase(session: ReviewSession) -> None:
    """Erase the annotation of the image under review, if there is one, as one undo step.

    Raises
    ------
    ImageError
        If the annotation is locked.
    """
    layer = annotation_of(session, create=False)
    if layer is not None and layer.data.any():
        check_unlocked(layer)
        _write(layer, layer.data != 0, np.zeros_like(layer.data))


class Target(Protocol):
    """An image layer, and a plane of it."""

    @property
    def layer(self) -> Image:
        """The image."""

    @property
    def plane(self) -> Plane:
        """One of its planes."""


def add_labels(
    session: ReviewSession,
    target: Target,
    labels: NDArray[Any],
    name: str,
    colours: Sequence[str] = (),
) -> Labels:
    """Add labels of the whole image to the viewer as a new layer.

    `colours` are the model's own colours of its classes, if it has any.
    """
    layer = Labels(
        _fitting(labels, target),
        name=name,
        opacity=0.5,
        **placement(target.layer, target.plane.first()),
    )
    layer.colormap = label_colours(colours)
    add_above(session.viewer, layer, target.layer)
    return layer


def _fitting(labels: NDArray[Any], target: Target) -> NDArray[Any]:
    wanted = target.plane.layer_shape
    longer = [tuple(n for n in shape if n > 1) for shape in (labels.shape, wanted)]
    if longer[0] != longer[1] or math.prod(labels.shape) != math.prod(wanted):
        raise ImageError(
            f"The labels have the shape {labels.shape}, but the image {target.layer.name!r} "
            f"has {wanted}. Choose the annotation of this image."
        )
    return labels.reshape(wanted)


def _write(layer: Labels, changed: NDArray[np.bool_], values: NDArray[Any]) -> None:
    write_where(layer, [slice(0, side) for side in values.shape], changed, values)
