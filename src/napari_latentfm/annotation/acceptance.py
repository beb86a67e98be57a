"""Rules for accepting an annotation, shared by the work list and by single images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import correction
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.mean_mask import (
    hidden_plane,
    mean_mask_layer,
    mean_mask_on_screen,
    removed_mean_mask,
)
from napari_latentfm.annotation.writing import write_mean_mask
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import index_slices
from napari_latentfm.layers.stacking import is_visible

if TYPE_CHECKING:
    from napari_latentfm.annotation.recovery import Recovery
    from napari_latentfm.results.session import Reviewed, ReviewSession

RUNNING = "A run is still in progress. Wait for it, or cancel it."
NOT_SAMPLED = "There is no mask to accept yet. Wait for the samples, or press Run (Ctrl+R)."
_EMPTIED = (
    "The annotation is empty. Take a mask or paint; or press {none} if there is nothing to mark."
)
_EMPTY_MEAN = (
    "The mean mask is empty. Paint, or take a hypothesis; or press {none} if there is nothing to "
    "mark."
)
_FULL_MEAN = (
    "The mean mask covers {share:.1%} of the image. If that is right, take a hypothesis; otherwise "
    "paint, or press {none} if there is nothing to mark."
)
_NEWER = (
    "The strokes have changed the mean mask since the annotation was made. Press Shift+M to take "
    "it, or undo the strokes; then accept."
)
_NOT_TAKEN = (
    "The mean mask is on screen, but only the annotation would be accepted, which differs. Press "
    "Shift+M to take the mean mask, or Shift+Q to hide it; then accept."
)
FULL_SHARE = 0.99
"""Share of the image above which a mean mask is not accepted as it is. Experts do mark almost the
whole image: on ISIC-2018, 1.6 % of the masks cover 95 % of it, and 0.3 % cover 99 %."""
_MARKED = (
    "{count:,} pixels are marked in this image. Accept them, or erase them (Ctrl+Z takes a step "
    "back) before you press {none}."
)


def emptied(none: str) -> str:
    """Return why an annotation that was edited until it was empty is not accepted.

    Parameters
    ----------
    none
        Name of the action that accepts an image without any mark.
    """
    return _EMPTIED.format(none=none)


def take_mean_mask(session: ReviewSession, none: str) -> str:
    """Make the mean mask under review the annotation, for an image that nobody has edited.

    Parameters
    ----------
    none
        Name of the action that accepts an image without any mark.

    Returns
    -------
    str
        Empty, or why the mean mask cannot be accepted; nothing was written then.

    Raises
    ------
    ImageError
        If the annotation cannot be written.
    """
    problem = mean_mask_problem(session, none)
    if session.current is not None and not problem:
        write_mean_mask(session)
    return problem


def mean_mask_problem(session: ReviewSession, none: str) -> str:
    """Return why the mean mask cannot be accepted as it is, or ""; see `take_mean_mask`."""
    if session.current is None:
        return NOT_SAMPLED
    if problem := hidden_plane(session) or removed_mean_mask(session):
        return problem
    mask = mean_mask_on_screen(session)
    if not mask.any():
        return _EMPTY_MEAN.format(none=none)
    share = np.count_nonzero(mask) / mask.size
    return _FULL_MEAN.format(share=share, none=none) if share >= FULL_SHARE else ""


def not_ready(session: ReviewSession, recovery: Recovery, empty: bool) -> str:
    """Return why the image under review cannot be accepted now, with `empty` as empty, or ""."""
    problem = RUNNING if session.renewing else recovery.unanswered()
    return problem if problem or empty else newer_by_strokes(session)


def newer_by_strokes(session: ReviewSession) -> str:
    """Return what to do if strokes have changed the mask since the annotation was made, or ""."""
    reviewed = session.current
    if reviewed is None or reviewed.label is not None or reviewed.result.samples.strokes is None:
        return ""
    layer = annotation_of(session, create=False)
    index = reviewed.plane.index
    if layer is None or not layer.data[index_slices(index)].any():
        return ""  # the mean mask is accepted
    record = record_of(layer)
    if not session.is_newer_than(record.last_edit):
        return ""
    recalled = record.recalled.get(index)
    known = recalled is not None and recalled == correction(index, reviewed.result.samples.strokes)
    return "" if known else _NEWER


def visible_but_not_taken(session: ReviewSession) -> str:
    """Return what to do if a mean mask is visible that the annotation was not made from, or ""."""
    reviewed, layer = session.current, annotation_of(session, create=False)
    if reviewed is None or layer is None or hidden_plane(session):
        return ""
    index, label, record = reviewed.plane.index, reviewed.label, record_of(layer)
    labels, proposal = layer.data[index_slices(index)], record.proposals.get(index)
    if label is None:
        source = None if proposal is None or proposal.samples is None else proposal.samples()
        is_taken = source is reviewed.result.samples or index in record.recalled
    else:
        labels = labels == label
        is_taken = proposal is not None and bool((proposal.labels == label).any())
    mask, seen = mean_mask_on_screen(session), mean_mask_layer(session)
    if is_taken or not labels.any() or seen is None or not is_visible(seen) or not mask.any():
        return ""
    return "" if np.array_equal(labels, mask) else _NOT_TAKEN


def is_unseen(reviewed: Reviewed) -> bool:
    """Return whether an image is unlike the training images, and the model had no help with it."""
    result = reviewed.result
    helped = bool(result.samples.prompt) or result.samples.strokes is not None
    return result.summary.out_of_domain and not helped


def still_marked(labels: NDArray[Any], none: str) -> str:
    """Return why an annotation is not accepted as empty, or "" if it has no labels."""
    count = int(np.count_nonzero(labels))
    return _MARKED.format(count=count, none=none) if count else ""
