"""What the work list has to know before an image is left."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist.files import Snapshot, save_in
from napari_latentfm.worklist.open_image import Desk

logger = logging.getLogger(__name__)


NOTHING_DRAWN = (
    "Nothing is annotated. Take a mask or paint; if there is nothing to mark in this image, "
    "press Completed once more."
)


def ready_to_complete(work: WorkList, desk: Desk, name: str, sure: bool) -> Snapshot | str:
    """Return the annotation of the open image, or what there is to do before it is complete.

    `sure` says that an image without any mark is meant to have none.
    """
    snapshot = desk.snapshot(force=True)
    if snapshot is None and work.kept(name) is not None:
        return "Wait until the annotation that was kept is shown."
    if (snapshot is None or not snapshot.labels.any()) and not sure:
        return NOTHING_DRAWN
    if snapshot is None:
        desk.ensure_annotation()
        snapshot = desk.snapshot(force=True)
    return snapshot or "Wait for the samples: an annotation begins with them."


def note_unfinished(work: WorkList, name: str, path: Path) -> None:
    """Note that an unfinished annotation was written."""
    state = work.item(name).state
    work.update(name, state=state if state == "flagged" else "in progress", file=path.name)


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
