"""Saving the annotation of the open image before another one is opened or accepted."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.acceptance import NOT_SAMPLED, emptied, still_marked
from napari_latentfm.worklist.files import Snapshot, save_in
from napari_latentfm.worklist.open_image import OpenImage

logger = logging.getLogger(__name__)

WAIT_FOR_KEPT = "Wait until the saved annotation is shown."


def ready_to_accept(work: WorkList, open_image: OpenImage, name: str, none: str) -> Snapshot | str:
    """Return the annotation to accept, or the reason why it cannot be accepted yet.

    If the annotation was not edited, the mean mask is accepted. An empty annotation is accepted
    only by another action, whose name is `none`.
    """
    snapshot = open_image.snapshot(force=True)
    if snapshot is not None and snapshot.labels.any():
        return snapshot
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    item = work.item(name)
    if snapshot is not None and item.state == "completed" and item.empty and not open_image.touched:
        return snapshot  # it was opened again, and stays as it is
    if open_image.touched:
        return emptied(none)
    return open_image.take_mean_mask(none) or open_image.snapshot(force=True) or NOT_SAMPLED


def ready_as_empty(work: WorkList, open_image: OpenImage, name: str, none: str) -> Snapshot | str:
    """Return an empty annotation, or the reason why there is none; for `none` see above."""
    snapshot = open_image.snapshot(force=True)
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    marked = "" if snapshot is None else still_marked(snapshot.labels, none)
    if marked:
        return marked
    open_image.ensure_annotation()
    return open_image.snapshot(force=True) or NOT_SAMPLED


def note_unfinished(work: WorkList, name: str, path: Path) -> None:
    """Record that an unfinished annotation was saved."""
    state = work.item(name).state
    state = state if state == "flagged" else "in progress"
    work.update(name, state=state, file=path.name, empty=False)


def count_time(work: WorkList | None, open_image: OpenImage) -> None:
    """Add the time since the last call to the time spent on the open image."""
    seconds = open_image.clock.take()
    if work is not None and open_image.name is not None and seconds > 0:
        work.update(open_image.name, seconds=work.item(open_image.name).seconds + seconds)


def missing_folder(work: WorkList | None) -> ImageError | None:
    """Return the error to show if the folder of the images has disappeared, else None."""
    if work is None or work.folder.is_dir():
        return None
    return ImageError(
        f"The folder {work.folder} no longer exists: it was removed or renamed, or its drive or "
        "network is not connected. Restore it and open it again."
    )


def save_failure(error: object, unsaved: bool) -> str:
    """Return a message about a failed save; `unsaved` at the second attempt."""
    if unsaved:
        return "The annotation that could not be saved stays in the viewer as an ordinary layer."
    return (
        f"{error} The annotation is unchanged and not saved. Choose another output folder and "
        "press Open; or press Open once more to keep it in the viewer as an ordinary layer."
    )


def keep(work: WorkList | None, open_image: OpenImage) -> None:
    """Save the annotation and the time; a failure is logged, since the window may be closed."""
    try:
        count_time(work, open_image)
        snapshot = open_image.snapshot()
        if snapshot is not None and work is not None:
            path = work.unfinished(snapshot.name)
            save_in(work, snapshot, path)
            note_unfinished(work, snapshot.name, path)
            open_image.mark_saved(snapshot)
    except (LatentFMError, OSError) as error:
        logger.error("The annotation of %s was not saved: %s", open_image.name, error)
