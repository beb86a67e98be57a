"""Navigation between the images of a folder: save the annotation, then read the next image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.state import WorkList, file_version
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.worklist.files import Opened, Snapshot, load, remove, save_in
from napari_latentfm.worklist.open_image import OpenImage
from napari_latentfm.worklist.prefetch import Drawn
from napari_latentfm.worklist.saving import count_time, keep, note_unfinished, save_failure


class Navigator:
    """Closes the open image and opens another, one move at a time.

    Parameters
    ----------
    drawn
        Returns the samples of an image if there are any, or None.

    Attributes
    ----------
    opening
        Emitted with the name of an image before it is read.
    arrived
        Emitted with the name of an image and the `Opened` image.
    unreadable
        Emitted with the name of an image that cannot be read, and the error.
    completed
        Emitted with the name and the file of an annotation that was accepted.
    kept
        Emitted when the annotation of the open image, which stays open, was saved.
    warned
        Emitted with a message for the user; the move continues.
    failed
        Emitted with the `LatentFMError` that ended a move; the image stays open.
    work, moving, wanted
        The work list, or None; whether a move is in progress; the image that it leads to.
    """

    opening = Signal(str)
    arrived = Signal(str, object)
    unreadable = Signal(str, object)
    completed = Signal(str, object)
    kept = Signal()
    warned = Signal(str)
    failed = Signal(object)

    def __init__(self, open_image: OpenImage, drawn: Callable[[str], Drawn | None]) -> None:
        self._open_image, self._drawn = open_image, drawn
        self._worker = TaskQueue()
        self._unsaved: tuple[str, Path] | None = None
        self._known: dict[Path, object] = {}
        self.work: WorkList | None = None
        self.moving = False
        self.wanted: str | None = None

    def leave(self, then: Callable[[], None], into: WorkList | None = None) -> None:
        """Save the annotation of the open image, then call `then`; stay if it cannot be saved.

        `into` is the work list that it is saved in; None for the current one.
        """
        self.moving = True
        self._save(then, into)

    def save(self, then: Callable[[], None]) -> None:
        """Save the annotation of the open image, which stays open, then call `then`."""
        if self.moving:
            self._worker.submit(list, lambda _done: then())  # the move saves it
        else:
            self._save(partial(self._kept, then))

    def _kept(self, then: Callable[[], None]) -> None:
        self.kept.emit()
        then()

    def _save(self, then: Callable[[], None], into: WorkList | None = None) -> None:
        snapshot, work = self._open_image.snapshot(), into or self.work
        if snapshot is None or work is None:
            self.count_time()
            then()
            return
        path = work.unfinished(snapshot.name)
        if into is not None and self._unsaved == (snapshot.digest, path):
            self._open_image.detach_annotation()
            self.warned.emit(save_failure("", unsaved=True))
            then()
            return
        done = partial(self._left, work, snapshot, path, then)
        self._worker.submit(partial(save_in, work, snapshot, path), done)

    def read(self) -> None:
        """Read the image `wanted`."""
        work, name = self.work, self.wanted
        if work is None or name is None:
            self.moving = False
            return
        self.opening.emit(name)
        self._note_accepted(work, name)
        drawn = self._drawn(name)
        image = None if drawn is None else drawn.image
        read = partial(load, work.path(name), image, work.kept(name), work.unfinished(name))
        self._worker.submit(read, partial(self._loaded, name))

    def complete(self, snapshot: Snapshot) -> None:
        """Save an annotation as accepted, and record whether it is empty."""
        work = self.work
        if work is None:
            return
        self.moving = True
        path = work.annotation(snapshot.name)
        done = partial(self._completed, work, snapshot, path)
        self._worker.submit(partial(save_in, work, snapshot, path), done)

    def is_accepted_elsewhere(self) -> bool:
        """Return whether another window has accepted the open image since it was opened here."""
        work, name = self.work, self._open_image.name
        if work is None or name is None:
            return False
        path = work.annotation(name)
        return path.exists() and file_version(path) != self._known.get(path)

    def count_time(self) -> None:
        """Record the time that was spent on the open image."""
        try:
            count_time(self.work, self._open_image)
        except LatentFMError as error:
            self.failed.emit(error)

    def keep(self) -> None:
        """Save the annotation and the time; a failure is only logged."""
        keep(self.work, self._open_image)

    def close(self) -> None:
        """Finish the remaining work without further signals."""
        self._worker.close()

    def _note_accepted(self, work: WorkList, name: str) -> None:
        path = work.annotation(name)
        self._known[path] = file_version(path)

    def _left(
        self, work: WorkList, snapshot: Snapshot, path: Path, then: Callable[[], None], error: Any
    ) -> None:
        try:
            if isinstance(error, LatentFMError):
                raise error
            note_unfinished(work, snapshot.name, path)
            count_time(work, self._open_image)
        except LatentFMError as problem:
            self.moving, self._unsaved = False, (snapshot.digest, path)
            self.failed.emit(LatentFMError(save_failure(problem, unsaved=False)))
            return
        self._open_image.mark_saved(snapshot)
        self._unsaved = None
        then()

    def _loaded(self, name: str, opened: Any) -> None:
        if name != self.wanted:
            self.read()  # another image was chosen in the meantime
            return
        if isinstance(opened, Opened):
            # The previous image stays until now, and may have been painted on.
            self.leave(partial(self._arrive, name, opened))
        else:
            self.moving = False
            self.unreadable.emit(name, opened)

    def _arrive(self, name: str, opened: Opened) -> None:
        self.moving = False
        if name == self.wanted:
            self.arrived.emit(name, opened)
        else:
            self.leave(self.read)

    def _completed(self, work: WorkList, snapshot: Snapshot, path: Path, error: Any) -> None:
        self.moving = False
        if isinstance(error, LatentFMError):
            self.failed.emit(error)
            return
        self._open_image.mark_saved(snapshot)
        self._note_accepted(work, snapshot.name)
        self.count_time()
        try:
            facts = {"empty": not snapshot.labels.any(), "flag": work.item(snapshot.name).flagged}
            work.update(snapshot.name, state="completed", file=path.name, **facts)
        except LatentFMError as problem:
            self.failed.emit(problem)
            return
        remove(work.unfinished(snapshot.name))
        self.completed.emit(snapshot.name, path)
