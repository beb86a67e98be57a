"""What the work list has to know before an image is left."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist.files import Snapshot, save_in
from napari_latentfm.worklist.open_image import Desk

logger = logging.getLogger(__name__)


WAIT = "Wait for the samples: an annotation begins with them."
WAIT_FOR_KEPT = "Wait until the annotation that was kept is shown."
EMPTIED = (
    "The annotation is empty. Take a mask or paint; or press {none} if there is nothing to mark."
)
EMPTY_MEAN = (
    "The mean mask is empty. Paint, or take a hypothesis; or press {none} if there is nothing to "
    "mark."
)
FULL_MEAN = (
    "The mean mask covers the whole image, so that it outlines nothing. Paint, or take a "
    "hypothesis; or press {none} if there is nothing to mark."
)
MARKED = (
    "{count:,} pixels are marked in this image. Accept them, or erase them (Ctrl+Z takes a step "
    "back) before you press {none}."
)


def ready_to_accept(work: WorkList, desk: Desk, name: str, none: str) -> Snapshot | str:
    """Return the annotation to accept, or what there is to do before.

    Where nobody has touched the annotation yet, the mean mask is accepted. An empty one never
    is: that is said by another action, whose name is `none`.
    """
    snapshot = desk.snapshot(force=True)
    if snapshot is not None and snapshot.labels.any():
        return snapshot
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    if desk.touched:
        return EMPTIED.format(none=none)
    if desk.mean_mask_is_full:
        return FULL_MEAN.format(none=none)
    if not desk.take_mean_mask():
        return EMPTY_MEAN.format(none=none) if desk.is_reviewed else WAIT
    return desk.snapshot(force=True) or WAIT


def ready_as_empty(work: WorkList, desk: Desk, name: str, none: str) -> Snapshot | str:
    """Return an annotation without any mark, or why there is none; `none` as above."""
    snapshot = desk.snapshot(force=True)
    if snapshot is None and work.kept(name) is not None:
        return WAIT_FOR_KEPT
    if snapshot is not None and snapshot.labels.any():
        return MARKED.format(count=int((snapshot.labels != 0).sum()), none=none)
    desk.ensure_annotation()
    return desk.snapshot(force=True) or WAIT


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
