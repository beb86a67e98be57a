"""What the work list has to know before an image is left."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.acceptance import NOT_SAMPLED, emptied, still_marked
from napari_latentfm.worklist.files import Snapshot, save_in
from napari_latentfm.worklist.open_image import Desk

logger = logging.getLogger(__name__)

WAIT_FOR_KEPT = "Wait until the annotation that was kept is shown."


def ready_to_accept(work: WorkList, desk: Desk, name: str, none: str) -> Snapshot | str:
    """Return the annotation to accept, or what there is to do before.

    If the annotation was not edited, the mean mask is accepted. An empty annotation is accepted
    only by another action, whose name is `none`.
    """
    snapshot = desk.snapshot(force=True)
    if snapshot is not None and snapshot.labels.any():
        return snapshot
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    if desk.touched:
        return emptied(none)
    return desk.take_mean_mask(none) or desk.snapshot(force=True) or NOT_SAMPLED


def ready_as_empty(work: WorkList, desk: Desk, name: str, none: str) -> Snapshot | str:
    """Return an annotation without any mark, or why there is none; `none` as above."""
    snapshot = desk.snapshot(force=True)
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    marked = "" if snapshot is None else still_marked(snapshot.labels, none)
    if marked:
        return marked
    desk.ensure_annotation()
    return desk.snapshot(force=True) or NOT_SAMPLED


def note_unfinished(work: WorkList, name: str, path: Path) -> None:
    """Note that an unfinished annotation was written."""
    state = work.item(name).state
    state = state if state == "flagged" else "in progress"
    work.update(name, state=state, file=path.name, empty=False)


def count_time(work: WorkList | None, desk: Desk) -> None:
    """Add the time at the open image to what was spent on it."""
    seconds = desk.clock.take()
    if work is not None and desk.name is not None and seconds > 0:
        work.update(desk.name, seconds=work.item(desk.name).seconds + seconds)


def gone(work: WorkList | None) -> ImageError | None:
    """Return the error to show if the images' whole folder vanished; no image is to blame."""
    if work is None or work.folder.is_dir():
        return None
    return ImageError(
        f"The folder {work.folder} is gone: it was removed or renamed, or its drive or network is "
        "no longer connected. Bring it back and open it again."
    )


def going_on(error: object, unsaved: bool) -> str:
    """Return what to do when an annotation could not be saved; `unsaved` at the second try."""
    if unsaved:
        return "The annotation that could not be saved is left in the viewer, as a layer of yours."
    return (
        f"{error} The annotation is unchanged and not saved. Choose another output folder and "
        "press Open; or press Open once more to leave it in the viewer as a layer."
    )


def keep(work: WorkList | None, desk: Desk) -> None:
    """Keep what was done; there may be no window any more to say that it failed."""
    try:
        count_time(work, desk)
        snapshot = desk.snapshot()
        if snapshot is not None and work is not None:
            path = work.unfinished(snapshot.name)
            save_in(work, snapshot, path)
            note_unfinished(work, snapshot.name, path)
            desk.is_kept(snapshot)
    except (LatentFMError, OSError) as error:
        logger.error("The annotation of %s was not kept: %s", desk.name, error)
