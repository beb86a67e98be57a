"""The mean mask under review, with what the user painted on its layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.annotation.layer import annotation_of, under_review
from napari_latentfm.layers.edits import fingerprint
from napari_latentfm.layers.planes import index_slices, position_of
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.layers.stacking import is_visible
from napari_latentfm.layers.update import results_with

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_latentfm.results.session import ReviewSession

_REMOVED = (
    "The mean mask was removed from the layer list: nothing shows what would be accepted. Press "
    "{key} to draw it again, or paint."
)

_OFF_SCREEN = (
    "The samples belong to plane{plane}, which is not on screen. Move the slider back to it, or "
    "run the model on the plane on screen."
)


def mean_mask_on_screen(session: ReviewSession) -> NDArray[Any]:
    """Return the mean mask of the plane under review ``(H, W)``, with what was painted on it.

    It is the array of the summary itself if nothing was painted.

    Raises
    ------
    ImageError
        If nothing is under review.
    """
    reviewed = under_review(session)
    proposed = reviewed.result.summary.mean_mask
    layer = mean_mask_layer(session)
    if layer is None or layer.multiscale:  # napari cannot paint on a pyramid
        return proposed
    index = reviewed.plane.index
    # A result of this plane alone has length 1 across it.
    lengths = layer.data.shape
    at = [each and min(each, length - 1) for each, length in zip(index, lengths, strict=True)]
    shown = layer.data[index_slices(at)]
    return proposed if np.array_equal(shown, proposed) else np.array(shown)


def count_as_taken(session: ReviewSession) -> None:
    """Record that what was painted on the layer of the mean mask is in the annotation now.

    The layer may then be updated and removed like others. That of a stack contains other planes.
    """
    layer = mean_mask_layer(session)
    if layer is not None and session.stack is None:
        facts = layer.metadata[METADATA_KEY]
        taken = {**facts, "digest": fingerprint(facts, layer.data)}
        layer.metadata = {**layer.metadata, METADATA_KEY: taken}


def removed_mean_mask(session: ReviewSession) -> str:
    """Return what to do if the user has removed the layer of the mean mask under review, or ""."""
    reviewed = session.current
    if reviewed is None or mean_mask_layer(session) is not None:
        return ""
    return _REMOVED.format(key="Run" if reviewed.label is None else "K")


def hidden_plane(session: ReviewSession) -> str:
    """Return what to do if the plane under review is not the one on screen, or ""."""
    reviewed, dims = session.current, session.viewer.dims
    if reviewed is None or len(dims.point) < reviewed.layer.ndim:
        return ""
    shown = position_of(reviewed.layer, dims)
    if all(shown[axis] == at for axis, at in reviewed.plane.fixed.items()):
        return ""
    return _OFF_SCREEN.format(plane=reviewed.plane.label())


def annotation_instead(session: ReviewSession) -> NDArray[Any] | None:
    """Return the annotation if it is on screen and the mean mask is not, else None.

    It is that of the plane under review, or of all planes of a stack.
    """
    reviewed, layer = session.current, annotation_of(session, create=False)
    if reviewed is None or layer is None or not is_visible(layer):
        return None
    if is_mean_mask_shown(session):
        return None
    whole = session.stack is not None
    return np.asarray(layer.data if whole else layer.data[index_slices(reviewed.plane.index)])


def is_mean_mask_shown(session: ReviewSession) -> bool:
    """Return whether the mean mask under review is on screen."""
    layer = mean_mask_layer(session)
    return layer is not None and is_visible(layer)


def mean_mask_layer(session: ReviewSession) -> Layer | None:
    """Return the layer of the mean mask under review, None if the user has removed it."""
    reviewed = under_review(session)
    planes = reviewed.plane if session.stack is None else session.stack.planes
    facts = {"role": "mean_mask", "source_id": str(reviewed.layer.unique_id), **planes.facts()}
    return next(results_with(session.viewer, facts), None)
