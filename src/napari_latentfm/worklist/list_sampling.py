"""Samples of the images of a work list, drawn in the background."""

from __future__ import annotations

from psygnal import Signal

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.types import ImageInput
from latentfm_core.worklist.order import uncertainty_of
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.image_states import ImageStates
from napari_latentfm.worklist.measuring import Measuring, is_final
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.prefetch import Drawn, Prefetcher, Task
from napari_latentfm.worklist.saving import missing_folder


class ListSampling:
    """Draws samples of the open image, the next one and, on request, all others.

    The uncertainty of every sampled image is recorded in the list.

    Parameters
    ----------
    form
        Model and settings; shows the progress of a measurement.

    Attributes
    ----------
    drawn
        Emitted with `Task` and `Drawn` of an opened image, which may be closed by then.
    cancelled
        Emitted with the name of an opened image whose sampling was cancelled.
    unreadable
        Emitted with name and error of an image that cannot be read.
    failed
        Emitted with a `LatentFMError` that concerns more than one image.
    """

    drawn = Signal(object, object)
    cancelled = Signal(str)
    unreadable = Signal(str, object)
    failed = Signal(object)

    def __init__(self, navigator: Navigator, form: QueueForm, states: ImageStates) -> None:
        self._navigator, self._form, self._states = navigator, form, states
        self.sampler = Prefetcher()
        self._measuring = Measuring(self.sampler, form.bar)
        self.sampler.ended.connect(self._on_ended)

    def task(self, name: str) -> Task:
        """Return the sampling of an image with the current model and settings.

        Raises
        ------
        LatentFMError
            If no folder is open or a setting is not usable.
        """
        work = self._navigator.work
        if work is None:
            raise LatentFMError("Open a folder first.")
        return Task(name, work.path(name), self._form.source(name), self._form.settings(name))

    def find(self, name: str) -> Drawn | None:
        """Return the samples of an image if they have been drawn."""
        try:
            return self.sampler.find(self.task(name))
        except LatentFMError:
            return None  # reported when samples are drawn

    def open(self, name: str, image: ImageInput) -> bool:
        """Emit `drawn` for an image, now or later; return whether samples are being drawn."""
        try:
            task = self.task(name)
        except LatentFMError as error:
            self.failed.emit(error)
            return False
        drawn = self.sampler.find(task)
        if drawn is None:
            self.sampler.open(task, image)
            return True
        self.drawn.emit(task, drawn)
        return False

    def read_ahead(self, name: str | None) -> None:
        """Draw samples of the next image when nothing else runs."""
        try:
            task = None if name is None else self.task(name)
        except LatentFMError:
            task = None  # reported when that image is opened
        self.sampler.read_ahead(task)

    def measure(self) -> None:
        """Measure the uncertainty of all images for which it is not known."""
        work = self._navigator.work
        if work is None:
            return
        try:
            tasks = [self.task(name) for name in work.names]
        except LatentFMError as error:
            self.failed.emit(error)
            return
        self._measuring.start(work, tasks)

    def cancel(self) -> None:
        """Stop all work; it ends within one ODE step."""
        self.sampler.stop("open", "ahead", "measure")
        self._measuring.stop()

    def is_folder_missing(self) -> bool:
        """Return whether the whole folder has disappeared; then stop and report it."""
        problem = missing_folder(self._navigator.work)
        if problem is not None:
            self.sampler.stop("ahead", "measure")
            self.failed.emit(problem)
        return problem is not None

    def _on_ended(self, task: Task, kind: str, drawn: Drawn | None, error: object) -> None:
        work = self._navigator.work
        if work is None or task.path.parent != work.folder:
            return
        if drawn is not None:
            self._record(task, drawn)
        elif isinstance(error, ImageError):
            if not self.is_folder_missing():
                self.unreadable.emit(task.name, error)
        elif error is not None:
            # The error does not concern one image: the others would fail as well.
            self.sampler.stop("ahead", "measure")
            self.failed.emit(error)
        self._measuring.show()
        if kind != "open":
            return
        if drawn is not None:
            self.drawn.emit(task, drawn)
        elif error is None:
            self.cancelled.emit(task.name)

    def _record(self, task: Task, drawn: Drawn) -> None:
        work = self._navigator.work
        if work is not None and is_final(work.item(task.name)):
            return
        uncertainty = uncertainty_of(drawn.result.summary)
        measured = {"uncertainty": uncertainty, "measured_with": task.key()}
        if not self._states.update(task.name, **measured):
            self.sampler.stop("ahead", "measure")  # the next change could not be saved either
