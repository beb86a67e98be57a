"""What the work list has to know before an image is left."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.queue.desk import Desk
from napari_latentfm.queue.saving import save

logger = logging.getLogger(__name__)


def note_unfinished(work: WorkList, name: str, path: Path) -> None:
    """Note that an unfinished annotation was written."""
    state = work.item(name).state
    work.update(name, state=state if state == "flagged" else "in progress", file=path.name)


def count_time(work: WorkList | None, desk: Desk) -> None:
    """Add the time at the open image to what was spent on it."""
    seconds = desk.clock.take()
    if work is not None and desk.name is not None and seconds > 0:
        work.update(desk.name, seconds=work.item(desk.name).seconds + seconds)


def keep(work: WorkList | None, desk: Desk) -> None:
    """Keep what was done; there may be no window any more to say that it failed."""
    try:
        count_time(work, desk)
        snapshot = desk.snapshot()
        if snapshot is not None and work is not None:
            path = work.unfinished(snapshot.name)
            save(snapshot, path)
            desk.is_kept(snapshot)
            note_unfinished(work, snapshot.name, path)
    except (LatentFMError, OSError) as error:
        logger.error("The annotation of %s was not kept: %s", desk.name, error)
