"""The work-list panel: annotate the images of a folder one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.classes import read_classes
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.acceptance import not_ready
from napari_latentfm.annotation.autosave_service import autosave_service_of
from napari_latentfm.background.job import Update
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.planes import load_units
from napari_latentfm.notices import show_error
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.status import session_status
from napari_latentfm.ui.area import DockPanel
from napari_latentfm.ui.common import on_click
from napari_latentfm.worklist.browsing import Browsing
from napari_latentfm.worklist.exporting import Exporting
from napari_latentfm.worklist.files import Opened
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.form_memory import FormMemory
from napari_latentfm.worklist.image_states import ImageStates
from napari_latentfm.worklist.late_warnings import LateWarnings
from napari_latentfm.worklist.list_sampling import ListSampling
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import OpenImage
from napari_latentfm.worklist.prefetch import Task
from napari_latentfm.worklist.sample_display import SampleDisplay
from napari_latentfm.worklist.unsaved import UnsavedSearch

if TYPE_CHECKING:
    import napari


class QueuePanel(DockPanel):
    """Works through a folder of images: samples, annotation, next image.

    Attributes
    ----------
    status_changed
        Emitted with the text of the status line.
    listed
        Emitted when another image is open, or the state of an image has changed.
    shown
        Emitted with the name of an image when its samples are shown.
    settled
        Emitted with ``"done"`` or ``"failed"`` when opening an image has ended.
    completed
        Emitted with the name of an image and the file of its annotation when it was accepted.
    described
        Description of the samples under review, as last shown in the status line.
    """

    status_changed = Signal(str)
    listed = Signal()
    shown = Signal(str)
    settled = Signal(str)
    completed = Signal(str, Path)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.form = QueueForm()
        self.open_image = OpenImage(napari_viewer)
        self._navigator = Navigator(self.open_image, lambda name: self.sampling.find(name))
        self.exporting = Exporting(self.form, self._navigator)
        self.described = ""
        self._warnings = LateWarnings(lambda: self._navigator.moving)
        self.fill("LatentFM queue", self.form)
        self._memory = FormMemory(self.form)
        self.autosave = autosave_service_of(session_of(napari_viewer), self)
        self.states = ImageStates(self._navigator, self.open_image)
        self.sampling = ListSampling(self._navigator, self.form, self.states)
        self.sampler = self.sampling.sampler
        check = partial(not_ready, session_of(napari_viewer), self.autosave.recovery)
        self.browsing = Browsing(self._navigator, self.open_image, self.form, self.sampling, check)
        self._display = SampleDisplay(self.open_image, self.sampling)
        self._unsaved = UnsavedSearch(self.autosave.autosaver, self.states, self.form.table)
        self._connect_form()
        self._connect_parts()
        endings = (
            self._display.stop,
            self._navigator.close,
            self.sampler.close,
            self.exporting.close,
            self._unsaved.close,
            self._navigator.keep,
            self.open_image.close,
        )
        self.destroyed.connect(partial(_close, endings))

    @property
    def work(self) -> WorkList | None:
        """The work list, or None."""
        return self._navigator.work

    @property
    def current(self) -> str | None:
        """File name of the open image."""
        return self.open_image.name

    def open_folder(self) -> None:
        """Open the chosen folder as a work list, and its first image."""
        self.browsing.open_folder()

    def next(self) -> None:
        """Save the annotation and open the next image."""
        self.browsing.step(1)

    def previous(self) -> None:
        """Save the annotation and open the previous image."""
        self.browsing.step(-1)

    def open(self, name: str) -> None:
        """Save the annotation of the open image, and open another one."""
        self.browsing.open(name)

    def accept(self) -> None:
        """Save the annotation, or else the mean mask, as done, and open the next image."""
        self.browsing.complete(empty=False)

    def accept_empty(self) -> None:
        """Save an empty annotation as done, and open the next image."""
        self.browsing.complete(empty=True)

    def cancel(self) -> None:
        """Stop all background work; it ends within one ODE step."""
        self.sampling.cancel()
        self.exporting.cancel()
        self._show_message("Cancelled.")

    def release(self) -> None:
        """Stop the background work and save the annotation, since the panel is not visible."""
        self.cancel()
        self._navigator.keep()
        self._display.stop()
        self.open_image.discard_previous()

    def _on_opened(self, work: WorkList) -> None:
        """Show a work list whose first image is about to be opened."""
        load_units()
        self._memory.keep(folder=str(work.folder), output=self.form.output.text().strip())
        self._refresh()
        self._warnings.keep(work.warning)
        self._unsaved.start()

    def _on_opening(self, name: str) -> None:
        self.sampler.stop("open")
        self._show_message(f"Opening {name}…")

    def _on_unreadable(self, name: str, error: object) -> None:
        if not self.sampling.is_folder_missing():
            self._mark_bad(name, error)
            self.browsing.skip(name)
            if not self._navigator.moving:
                self._warnings.show()  # it was the last image

    def _on_completed(self, name: str, path: Path) -> None:
        if self.open_image.annotation is not None:
            # It is saved in a file now, and not offered for recovery after a crash.
            self.autosave.autosaver.exported(self.open_image.annotation, self.open_image.digest)
        self.completed.emit(name, path)
        self._refresh()
        is_last = not self.browsing.step(1)
        if is_last and self.work is not None and self.work.item(name).empty:
            # It stays open, and proposals would look like its annotation.
            session_of(self._viewer).taken.emit()

    def _show_image(self, name: str, opened: Opened) -> None:
        self._display.stop()
        session = session_of(self._viewer)
        session.class_names = {} if self.work is None else read_classes(self.work.output)
        self.open_image.show(name, opened)
        self.open_image.clock.watch_around(self)
        self._refresh()
        self.states.mark_readable(name)
        self._warnings.keep(opened.warning)
        self._warnings.show()
        if self.sampling.open(name, opened.image):
            self._show_message(f"{name}: drawing samples…")

    def _on_cancelled(self, name: str) -> None:
        if name == self.current:
            self._show_message("Cancelled. Open the image again to draw its samples.")
            self.settled.emit("failed")

    def _on_shown(self, task: Task) -> None:
        self._describe()
        self.browsing.read_ahead()
        self.shown.emit(task.name)
        self.settled.emit("done")

    def describe(self) -> None:
        """Describe what is under review again, without a message about the image."""
        if self.open_image.is_reviewed:
            text = self.described = session_status(session_of(self._viewer))
            note, hidden = self.browsing.note, self.open_image.hidden_note
            self.form.status.setText(f"{note} {text} {hidden}".strip())

    def _describe(self) -> None:
        """Describe what is under review now, for example after strokes."""
        if self.open_image.is_reviewed:
            self.describe()
            self.status_changed.emit(self.form.status.text())

    def _mark_bad(self, name: str, error: object) -> None:
        text = f"{name} is flagged: {self.states.mark_bad(name, error)}"
        self._show_message(text)
        self._warnings.keep(text)
        self.settled.emit("failed")

    def _on_bad_samples(self, name: str, error: object) -> None:
        self._mark_bad(name, error)
        self._warnings.show()

    def _reset(self) -> None:
        """Mark the selected image, or else the open one, as not started."""
        name = self.form.table.selected() or self.current
        if name is not None and self.states.reset(name):
            self._show_message(f"{name} is marked as not started. Its annotation file was kept.")

    def _on_order(self, _text: str) -> None:
        self._refresh()
        if self.form.by_uncertainty:
            self.sampling.measure()

    def _refresh(self) -> None:
        if self.work is not None:
            self.form.show_list(self.work, self.current)
        self.listed.emit()

    def _on_progress(self, kind: str, update: Update) -> None:
        if kind == "open":
            self._show_message(f"{self.current}: {update.text}")

    def _show_busy(self) -> None:
        self.form.show_busy("samples", self.sampler.busy)

    def _fail(self, error: LatentFMError) -> None:
        if not (self._navigator.moving or self._display.busy):
            self.open_image.discard_previous()  # no samples will replace it
        show_error(str(error))
        self._show_message(str(error))
        self.settled.emit("failed")

    def _show_message(self, text: str) -> None:
        self.form.status.setText(text)
        self.status_changed.emit(text)

    def _connect_form(self) -> None:
        form = self.form
        for button, slot in (
            (form.previous, self.previous),
            (form.next, self.next),
            (form.reset, self._reset),
            (form.measure, self.sampling.measure),
            (form.cancel, self.cancel),
        ):
            on_click(button, slot)
        form.open_asked.connect(self.open_folder)
        form.order.currentTextChanged.connect(self._on_order)
        form.table.chosen.connect(self.open)

    def _connect_parts(self) -> None:
        listen(self, session_of(self._viewer).changed, self._describe)
        listen(self, self.autosave.recovery.offered, self._unsaved.repeat)
        self._unsaved.found.connect(self._warnings.add)
        self._navigator.opening.connect(self._on_opening)
        self._navigator.arrived.connect(self._show_image)
        self._navigator.unreadable.connect(self._on_unreadable)
        self._navigator.completed.connect(self._on_completed)
        self._navigator.kept.connect(self._refresh)
        self._navigator.warned.connect(self._warnings.keep)
        self.browsing.opened.connect(self._on_opened)
        for text in (self.browsing.reported, self.browsing.ended):
            text.connect(self._show_message)
        self.states.changed.connect(self._refresh)
        self._display.shown.connect(self._on_shown)
        self.sampling.cancelled.connect(self._on_cancelled)
        self.sampling.unreadable.connect(self._on_bad_samples)
        moving = (self._navigator, self.browsing, self.states)
        for part in (*moving, self.exporting, self._display, self.sampling):
            part.failed.connect(self._fail)
        self.sampler.progressed.connect(self._on_progress)
        for change in (self.sampler.started, self.sampler.ended):
            change.connect(self._show_busy)


def _close(endings: Iterable[Callable[[], None]]) -> None:
    """Stop the work and save what was done; the widget itself is already deleted."""
    for end in endings:
        end()
