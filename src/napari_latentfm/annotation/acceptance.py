"""Rules for accepting an annotation, shared by the work list and by single images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.annotation.mean_mask import mean_mask_on_screen, removed_mean_mask
from napari_latentfm.annotation.writing import write_mean_mask

if TYPE_CHECKING:
    from napari_latentfm.results.session import Reviewed, ReviewSession

NOT_SAMPLED = "Wait for the samples: an annotation begins with them."
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
    problem = mean_mask_problem(session, none)
    if session.current is not None and not problem:
        write_mean_mask(session)
    return problem


def mean_mask_problem(session: ReviewSession, none: str) -> str:
    """Return why the mean mask cannot be accepted as it is, or ""; see `take_mean_mask`."""
    if session.current is None:
        return NOT_SAMPLED
    removed = removed_mean_mask(session)
    if removed:
        return removed
    mask = mean_mask_on_screen(session)
    if not mask.any():
        return _EMPTY_MEAN.format(none=none)
    share = np.count_nonzero(mask) / mask.size
    return _FULL_MEAN.format(share=share, none=none) if share >= FULL_SHARE else ""


def is_unseen(reviewed: Reviewed) -> bool:
    """Return whether an image is unlike the training images, and the model had no help with it."""
    result = reviewed.result
    helped = bool(result.samples.prompt) or result.samples.strokes is not None
    return result.summary.out_of_domain and not helped


def still_marked(labels: NDArray[Any], none: str) -> str:
    """Return why an annotation is not accepted as empty, or "" if it has no labels."""
    count = int(np.count_nonzero(labels))
    return _MARKED.format(count=count, none=none) if count else ""
