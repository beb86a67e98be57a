"""Take a mask of the result under review into the annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.mean_mask import hidden_plane
from napari_latentfm.annotation.region import drawn_region
from napari_latentfm.annotation.writing import write_labels, write_mean_mask

if TYPE_CHECKING:
    from latentfm_core.types import Bool, Mask
    from napari_latentfm.annotation.merging import How
    from napari_latentfm.results.session import ReviewSession

RENEWING = "A run is still in progress. Wait for its result, or cancel it."


def take_mask(
    session: ReviewSession, mask: Mask, origin: str, how: How = "replace", in_region: bool = False
) -> str:
    """Write a mask into the annotation, and return what changed, or why nothing did.

    Parameters
    ----------
    session, mask, origin, how
        As in `napari_latentfm.annotation.writing.write_labels`; with several classes ``(H, W)``
        labels.
    in_region
        Write only inside the region that is drawn on the plane.
    """
    return _take(
        session, lambda region: write_labels(session, mask, how, region, origin=origin), in_region
    )


def take_mean_mask(session: ReviewSession, in_region: bool = False) -> str:
    """Write the mean mask as it is on screen into the annotation; see `take_mask`."""
    return _take(session, partial(write_mean_mask, session), in_region)


def _take(session: ReviewSession, write: Callable[[Bool | None], int], in_region: bool) -> str:
    if problem := RENEWING if session.renewing else hidden_plane(session):
        return problem
    try:
        region = drawn_region(session) if in_region else None
        if in_region and (region is None or not region.any()):
            return "Draw a region around the part that you want to take, then try again."
        changed = write(region)
    except LatentFMError as error:
        return str(error)
    return f"{changed:,} pixels of the annotation changed. Ctrl+Z undoes it."
