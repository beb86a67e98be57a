"""Rules for accepting an annotation, shared by the work list and by single images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.uncertainty.size import outlines_nothing
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.layers.annotation_record import MEAN_MASK

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession

NOT_SAMPLED = "Wait for the samples: an annotation begins with them."
_EMPTIED = (
    "The annotation is empty. Take a mask or paint; or press {none} if there is nothing to mark."
)
_EMPTY_MEAN = (
    "The mean mask is empty. Paint, or take a hypothesis; or press {none} if there is nothing to "
    "mark."
)
_FULL_MEAN = (
    "The mean mask covers the whole image, so that it outlines nothing. Paint, or take a "
    "hypothesis; or press {none} if there is nothing to mark."
)
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
    session
        The result under review.
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
    if session.current is None:
        return NOT_SAMPLED
    mask = session.current.result.summary.mean_mask
    if not mask.any():
        return _EMPTY_MEAN.format(none=none)
    if outlines_nothing(mask):
        return _FULL_MEAN.format(none=none)
    write_labels(session, mask, origin=MEAN_MASK)
    return ""


def still_marked(labels: NDArray[Any], none: str) -> str:
    """Return why an annotation is not accepted as empty, or "" if it has no labels."""
    count = int(np.count_nonzero(labels))
    return _MARKED.format(count=count, none=none) if count else ""
