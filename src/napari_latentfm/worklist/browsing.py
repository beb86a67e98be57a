"""Opens a folder as a work list, and chooses which of its images is opened next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.state import WorkList
from napari_latentfm.reading import reading_limits
from napari_latentfm.worklist.files import Snapshot
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.list_sampling import ListSampling
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import OpenImage

ALL_DONE = "All images are done. Export them in the tab Folder."


class Browsing:
    """Goes through the images of a folder in the order of the form.

    Attributes
    ----------
    reported
        Emitted with a text for the user.
    failed
        Emitted with the `LatentFMError` of a folder that cannot be opened, or of an annotation
        that cannot be accepted.
    opened
        Emitted with a `WorkList` before its first image is opened.
    all_done
        Whether all images were done when the folder was opened.
    """

    reported = Signal(str)
    failed = Signal(object)
    opened = Signal(object)

    def __init__(
        self,
        navigator: Navigator,
        open_image: OpenImage,
        form: QueueForm,
        sampling: ListSampling,
    ) -> None:
        self._navigator, self._open_image = navigator, open_image
        self._form, self._sampling = form, sampling
        self._direction = 1
        self.all_done = False

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
        self.all_done = self.all_done and self._open_image.name is None
        if not self._navigator.moving:
            self._navigator.leave(self._navigator.read)

    def step(self, by: int) -> None:
        """Open the next (`by` 1) or previous (-1) image."""
        self._direction = by
        moving = self._navigator.moving or self._open_image.name is None
        self._step_from(self._navigator.wanted if moving else self._open_image.name)

    def read_ahead(self) -> None:
        """Draw samples of the next image in the background."""
        work = self._navigator.work
        if work is not None:
            self._sampling.read_ahead(self._form.neighbour(work, self._open_image.name, 1))

    def skip(self, name: str) -> None:
        """Open the image after one that cannot be read, in the direction of the last step."""
        self._step_from(name)

    def complete(
        self, ready: Callable[[WorkList, OpenImage, str, str], Snapshot | str], empty_name: str
    ) -> None:
        """Accept the annotation that `ready` returns, or show its reason not to."""
        work, name = self._navigator.work, self._open_image.name
        if work is None or name is None or self._navigator.moving:
            return
        try:
            ready_or_reason = ready(work, self._open_image, name, empty_name)
        except LatentFMError as error:
            self.failed.emit(error)
            return
        if isinstance(ready_or_reason, Snapshot):
            self._navigator.complete(ready_or_reason)
        else:
            self.reported.emit(f"{name}: {ready_or_reason}")

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
        older, again = self._navigator.work, self._open_image.name
        self._open_image.close_image()
        self._navigator.work = work
        self.opened.emit(work)
        first = self._form.neighbour(work, None, 1)
        if older is not None and older.folder == folder and older.output != work.output:
            first = again if again in work.names else first  # only the output folder changed
        self.all_done = first is None
        # The viewer must not be empty.
        self.open(first or self._form.names(work)[0])
        if self._form.by_uncertainty:
            self._sampling.measure()

    def _step_from(self, here: str | None) -> None:
        work = self._navigator.work
        if work is None:
            return
        name = self._form.neighbour(work, here, self._direction)
        if name is not None:
            self.open(name)
        elif self._direction < 0:
            self.reported.emit("This is the first image.")
        elif self._form.neighbour(work, None, 1) is None:
            self.reported.emit(f"{ALL_DONE} {self._open_image.name} is still open.")
        else:
            self.reported.emit("This is the last image.")
