"""Opens a folder as a work list, and chooses which of its images is opened next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.item import Item
from latentfm_core.worklist.state import WorkList
from napari_latentfm.reading import reading_limits
from napari_latentfm.worklist.files import Snapshot
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.list_sampling import ListSampling
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import OpenImage
from napari_latentfm.worklist.saving import ready_as_empty, ready_to_accept

ALL_DONE = "All images are done. Export them in the tab Folder."


class Browsing:
    """Goes through the images of a folder in the order of the form.

    Parameters
    ----------
    check
        Called with whether the open image is to be accepted as empty; returns why it cannot be now.

    Attributes
    ----------
    prepare
        Called with the same before the open image is accepted: makes it ready, or says why not and
        returns False. The dock replaces it by its own, which checks more.
    reported
        Emitted with a text for the user.
    failed
        Emitted with the `LatentFMError` of a folder that cannot be opened, or of an annotation
        that cannot be accepted.
    opened
        Emitted with a `WorkList` before its first image is opened.
    ended
        Emitted with a text for the user if a step leads beyond the end of the list.
    note
        Why the folder was opened at an image that is done, or "".
    """

    reported = Signal(str)
    failed = Signal(object)
    opened = Signal(object)
    ended = Signal(str)

    def __init__(
        self,
        navigator: Navigator,
        open_image: OpenImage,
        form: QueueForm,
        sampling: ListSampling,
        check: Callable[[bool], str],
    ) -> None:
        self._navigator, self._open_image = navigator, open_image
        self._form, self._sampling = form, sampling
        self._direction = 1
        self.note = ""
        self._check = check
        self.prepare: Callable[[bool], bool] = self._prepare

    def open_folder(self) -> None:
        """Open the chosen folder as a work list, and its first image."""
        folder, output = self._form.folder.text().strip(), self._form.output.text().strip()
        if not folder:
            self.reported.emit("Choose a folder of images first.")
            return
        if self._navigator.moving:
            return
        into, chosen = Path(folder), Path(output) if output else None
        try:
            self._navigator.leave(partial(self._start, into, chosen), self._moved(into, chosen))
        except LatentFMError as error:
            self._navigator.moving = False
            self.failed.emit(error)

    def open(self, name: str) -> None:
        """Save the annotation of the open image, and open another one."""
        if self._navigator.work is None:
            return
        self._navigator.wanted = name
        if self._open_image.name is not None:
            self.note = ""
        if not self._navigator.moving:
            self._navigator.leave(self._navigator.read)

    def step(self, by: int) -> bool:
        """Open the next (`by` 1) or previous (-1) image; return whether there is one."""
        self._direction = by
        moving = self._navigator.moving or self._open_image.name is None
        return self._step_from(self._navigator.wanted if moving else self._open_image.name)

    def read_ahead(self) -> None:
        """Draw samples of the next image in the background."""
        work = self._navigator.work
        if work is not None:
            self._sampling.read_ahead(self._form.neighbour(work, self._open_image.name, 1))

    def skip(self, name: str) -> None:
        """Open the image after one that cannot be read, in the direction of the last step.

        If there is none and the viewer is empty, the last image that is done is opened.
        """
        work = self._navigator.work
        if work is None or self._open_image.name is not None or self._next(work, name) is not None:
            self._step_from(name)
            return
        items = work.items()
        done = [each for each in self._form.names(work) if _is_done(items[each])]
        self.note = rest_of(items)
        if done:
            self.open(done[-1])
        else:
            self.ended.emit(self.note)

    def complete(self, empty: bool) -> None:
        """Accept the open image, or show why not; with `empty`, that there is nothing to mark."""
        work, name = self._navigator.work, self._open_image.name
        if work is None or name is None or self._navigator.moving or not self.prepare(empty):
            return
        ready = ready_as_empty if empty else ready_to_accept
        try:
            ready_or_reason = ready(work, self._open_image, name, self._form.empty_name)
        except LatentFMError as error:
            self.failed.emit(error)
            return
        if isinstance(ready_or_reason, Snapshot):
            self._navigator.complete(ready_or_reason)
        else:
            self.reported.emit(f"{name}: {ready_or_reason}")

    def _prepare(self, empty: bool) -> bool:
        problem = self._check(empty)
        if problem:
            self.reported.emit(f"{self._open_image.name}: {problem}")
        return not problem

    def is_accepted_elsewhere(self) -> bool:
        """Return whether another window has accepted the open image since it was opened here."""
        return self._navigator.is_accepted_elsewhere()

    def _moved(self, folder: Path, output: Path | None) -> WorkList | None:
        """Return the work list with its new output folder, if only that is different."""
        work = self._navigator.work
        if work is None or folder != work.folder:
            return work
        return WorkList(folder, output, reading_limits())

    def _start(self, folder: Path, output: Path | None) -> None:
        self._navigator.moving = False
        self._sampling.sampler.stop("open", "ahead", "measure")
        try:
            work = WorkList(folder, output, reading_limits())
        except LatentFMError as error:
            self.failed.emit(error)
            return
        self._direction = 1
        older, again = self._navigator.work, self._open_image.name
        self._open_image.close_image()
        self._navigator.work = work
        self.opened.emit(work)
        first = self._form.neighbour(work, None, 1)
        if older is not None and older.folder == folder and older.output != work.output:
            first = again if again in work.names else first  # only the output folder changed
        self.note = ALL_DONE if first is None else ""
        # The viewer must not be empty.
        self.open(first or self._form.names(work)[0])
        if self._form.by_uncertainty:
            self._sampling.measure()

    def _next(self, work: WorkList, here: str | None) -> str | None:
        return self._form.neighbour(work, here, self._direction)

    def _step_from(self, here: str | None) -> bool:
        work = self._navigator.work
        if work is None:
            return False
        name = self._next(work, here)
        if name is not None:
            self.open(name)
        elif self._direction < 0:
            self.ended.emit("This is the first image.")
        else:
            # The image that stays open may have been changed since it was accepted.
            self._navigator.save(partial(self._end, work))
        return name is not None

    def _end(self, work: WorkList) -> None:
        self.ended.emit(rest_of(work.items(), self._open_image.name))


def rest_of(items: Mapping[str, Item], here: str | None = None) -> str:
    """Return what is left to do at the end of a list.

    Parameters
    ----------
    items
        States by name.
    here
        The open image, or None.
    """
    done = sum(item.state == "completed" for item in items.values())
    if done == len(items):
        return ALL_DONE if here is None else f"{ALL_DONE} {here} is still open."
    unread = sum(bool(item.error) and item.state != "completed" for item in items.values())
    left = len(items) - done - unread
    if here is not None and items[here].state != "completed" and not items[here].error:
        left -= 1
    if left:
        are = "image is" if left == 1 else "images are"
        return f"{left} earlier {are} not done: Page Up."
    if unread:
        return f"{done} done, {unread} cannot be read."
    return f"All other images are done. {here} is not accepted yet."


def _is_done(item: Item) -> bool:
    return item.state == "completed" and not item.error
