"""The work-list panel: annotate the images of a folder one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QScrollArea

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.classes import read_classes
from latentfm_core.worklist.state import WorkList
from napari_latentfm import preferences
from napari_latentfm.annotation.keeper import keeper_of
from napari_latentfm.background.job import Update
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.planes import load_units
from napari_latentfm.reading import reading_limits
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.status import describe
from napari_latentfm.ui.area import fill_dock
from napari_latentfm.ui.shortcuts import KeyBindings
from napari_latentfm.worklist.exporting import Exporting
from napari_latentfm.worklist.files import Opened, Snapshot
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.image_states import ImageStates
from napari_latentfm.worklist.keeping import keep, ready_as_empty, ready_to_accept
from napari_latentfm.worklist.list_sampling import ListSampling
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import OpenImage
from napari_latentfm.worklist.prefetch import Drawn, Task
from napari_latentfm.worklist.sample_display import SampleDisplay
from napari_latentfm.worklist.unsaved import UnsavedSearch

if TYPE_CHECKING:
    import napari

logger = logging.getLogger(__name__)

SECTION = "queue"
ALL_DONE = "All images are done."


class QueuePanel(QScrollArea):
    """Works through a folder of images: samples, annotation, next image.

    Parameters
    ----------
    napari_viewer
        The viewer.
    own_keys
        Whether the panel binds its keys; False in a dock that binds them.

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
    form, open_image, sampling, sampler
        Controls, the open image, its samples and those of other images, and the background work.
    described
        Description of the samples under review, as last shown in the status line.
    """

    status_changed = Signal(str)
    listed = Signal()
    shown = Signal(str)
    settled = Signal(str)
    completed = Signal(str, Path)

    def __init__(self, napari_viewer: napari.viewer.Viewer, own_keys: bool = True) -> None:
        super().__init__()
        load_units()
        self._own_keys = own_keys
        self._viewer = napari_viewer
        self.form = QueueForm()
        self.open_image = OpenImage(napari_viewer)
        self._navigator = Navigator(self.open_image, self.find_samples)
        self.exporting = Exporting(self.form)
        self._keys = KeyBindings(napari_viewer, self)
        self.described = ""
        self._direction = 1
        self._all_done = False
        fill_dock(self, "LatentFM queue", self.form)
        self.form.restore(preferences.get(SECTION))
        self.keeper = keeper_of(session_of(napari_viewer), self)
        self._states = ImageStates(self._navigator)
        self.sampling = ListSampling(self._navigator, self.form, self._states)
        self.sampler = self.sampling.sampler
        self._display = SampleDisplay(self.open_image)
        self._unsaved = UnsavedSearch(self.keeper.autosaver.store, self.form.table)
        self._connect()
        working = (self._navigator, self.sampling, self._display, self.exporting, self._unsaved)
        self.destroyed.connect(partial(_close, *working, self.open_image, self._keys))

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
        folder = self.form.folder.text().strip()
        output = self.form.output.text().strip()
        if not folder:
            self._say("Choose a folder of images first.")
            return
        if self._navigator.moving:
            return
        into, chosen = Path(folder), Path(output) if output else None
        try:
            self._navigator.leave(partial(self._start, into, chosen), self._moved(into, chosen))
        except LatentFMError as error:
            self._navigator.moving = False
            self._fail(error)

    def next(self) -> None:
        """Save the annotation and open the next image."""
        self._step(1)

    def previous(self) -> None:
        """Save the annotation and open the previous image."""
        self._step(-1)

    def open(self, name: str) -> None:
        """Save the annotation of the open image, and open another one."""
        if self.work is None:
            return
        self._navigator.wanted = name
        self._all_done = self._all_done and self.current is None
        if not self._navigator.moving:
            self._navigator.leave(self._navigator.read)

    def accept(self) -> None:
        """Save the annotation, or else the mean mask, as done, and open the next image."""
        self._complete(ready_to_accept)

    def accept_empty(self) -> None:
        """Save an empty annotation as done, and open the next image."""
        self._complete(ready_as_empty)

    def _complete(self, ready: Callable[[WorkList, OpenImage, str, str], Snapshot | str]) -> None:
        work, name = self.work, self.current
        if work is None or name is None or self._navigator.moving:
            return
        try:
            ready_or_reason = ready(work, self.open_image, name, self.form.empty_name)
        except LatentFMError as error:
            self._fail(error)
            return
        if isinstance(ready_or_reason, Snapshot):
            self._navigator.complete(ready_or_reason)
        else:
            self._say(f"{name}: {ready_or_reason}")

    def flag(self) -> None:
        """Flag the open image for a second look, or remove its flag."""
        if self.current is not None:
            self._states.toggle_flag(self.current)

    def note(self, text: str) -> None:
        """Save a note about the open image."""
        if self.current is not None:
            self._states.update(self.current, note=text.strip())

    def reset(self) -> None:
        """Mark the open image as not started; its files stay."""
        if self.current is not None:
            self._states.update(self.current, state="not started", note="", empty=False, flag=False)

    def measure(self) -> None:
        """Measure the uncertainty of all images for which it is not known, in the background."""
        self.sampling.measure()

    def cancel(self) -> None:
        """Stop all background work; it ends within one ODE step."""
        self.sampling.cancel()
        self.exporting.cancel()
        self._say("Cancelled.")

    def export(self) -> None:
        """Ask for format and target, and export all accepted annotations."""
        self._export(table=False)

    def export_sizes(self) -> None:
        """Ask for a file, and write the measurements of all accepted objects there."""
        self._export(table=True)

    def _export(self, table: bool) -> None:
        if self.work is None:
            self._say("Open a folder first.")
        else:
            self.exporting.ask_and_start(self.work, table)

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {
            "PageUp": self.previous,
            "PageDown": self.next,
            "Ctrl-Enter": self.accept,
            "Ctrl-Shift-Enter": self.accept_empty,
        }

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Save the work when the panel leaves its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            self._keys.release()
            if self.parent() is None:
                self.release()
            elif self._own_keys:
                self._keys.bind(self.key_actions())

    def release(self) -> None:
        """Stop the background work and save the annotation, since the panel is not visible."""
        self.cancel()
        self.keep_now()

    def keep_now(self) -> None:
        """Save annotation and time of the open image at once."""
        keep(self.work, self.open_image)

    def _moved(self, folder: Path, output: Path | None) -> WorkList | None:
        """Return the work list with its new output folder, if only that is different."""
        if self.work is None or folder != self.work.folder:
            return self.work
        return WorkList(folder, output, reading_limits())

    def _start(self, folder: Path, output: Path | None) -> None:
        self._navigator.moving = False
        self.sampler.stop("open", "ahead", "measure")
        try:
            work = WorkList(folder, output, reading_limits())
        except LatentFMError as error:
            self._fail(error)
            return
        older, again = self.work, self.current
        self.open_image.close_image()
        self._navigator.work = work
        self._remember(folder=str(folder), output=str(output or ""))
        self._refresh()
        if work.warning:
            show_error(work.warning)
        first = self.form.neighbour(work, None, 1)
        if older is not None and older.folder == folder and older.output != work.output:
            first = again if again in work.names else first  # only the output folder changed
        self._look_for_unsaved()
        self._all_done = first is None
        # The viewer must not be empty.
        self.open(first or self.form.names(work)[0])
        if self.form.by_uncertainty:
            self.measure()

    def _step(self, by: int, here: str | None = None) -> None:
        if self.work is None:
            return
        self._direction = by
        if here is None:
            moving = self._navigator.moving or self.current is None
            here = self._navigator.wanted if moving else self.current
        name = self.form.neighbour(self.work, here, by)
        if name is None:
            self._say(self._end_of_list(by))
        else:
            self.open(name)

    def _on_offer(self, offer: object) -> None:
        """Search again for unsaved work after the answer to a recovery offer is carried out."""
        if offer is None:
            self.keeper.autosaver.work.submit(list, self._look_for_unsaved)

    def _look_for_unsaved(self, _done: object = None) -> None:
        if self.work is not None:
            self._unsaved.start(self.work)

    def _end_of_list(self, by: int) -> str:
        if by < 0:
            return "This is the first image."
        if self.work is not None and self.form.neighbour(self.work, None, 1) is None:
            return f"{ALL_DONE} {self.current} is still open."
        return "This is the last image."

    def _on_opening(self, name: str) -> None:
        self.sampler.stop("open")
        self._say(f"Opening {name}…")

    def find_samples(self, name: str) -> Drawn | None:
        """Return the samples of an image if they have been drawn."""
        return self.sampling.find(name)

    def _on_unreadable(self, name: str, error: object) -> None:
        if not self.sampling.is_folder_missing():
            self._mark_bad(name, error)
            self._step(self._direction, name)

    def _on_completed(self, name: str, path: Path) -> None:
        if self.open_image.annotation is not None:
            # It is saved in a file now, and not offered for recovery after a crash.
            self.keeper.autosaver.exported(self.open_image.annotation, self.open_image.digest)
        self.completed.emit(name, path)
        self._refresh()
        self._step(1)

    def _show_image(self, name: str, opened: Opened) -> None:
        self._display.stop()
        self.open_image.class_names = {} if self.work is None else read_classes(self.work.output)
        self.open_image.show(name, opened)
        self.open_image.clock.watch_around(self)
        self._refresh()
        if opened.warning:
            show_error(opened.warning)
        if self.sampling.open(name, opened.image):
            self._say(f"{name}: drawing samples…")

    def _on_drawn(self, task: Task, drawn: Drawn) -> None:
        if task.name == self.current:
            self._display.show(task, drawn)

    def _on_cancelled(self, name: str) -> None:
        if name == self.current:
            self._say("Cancelled. Open the image again to draw its samples.")
            self.settled.emit("failed")

    def _on_shown(self, task: Task) -> None:
        self._describe()
        self.read_ahead()
        self.shown.emit(task.name)
        self.settled.emit("done")

    def _describe(self) -> None:
        """Describe what is under review now, for example after strokes."""
        current = session_of(self._viewer).current
        if current is not None and self.open_image.is_reviewed:
            text = self.described = describe(current.layer, current.plane, current.result)
            self._say(f"{ALL_DONE} {text}" if self._all_done else text)

    def read_ahead(self) -> None:
        """Draw samples of the next image in the background."""
        if self.work is not None:
            self.sampling.read_ahead(self.form.neighbour(self.work, self.current, 1))

    def _mark_bad(self, name: str, error: object) -> None:
        self._states.mark_bad(name, error)
        self._say(f"{name} is flagged: {error}")
        self.settled.emit("failed")

    def _on_order(self, _text: str) -> None:
        self._refresh()
        if self.form.by_uncertainty:
            self.measure()

    def _remember(self, *_: object, **folders: str) -> None:
        preferences.put(SECTION, {**preferences.get(SECTION), **self.form.state(), **folders})

    def _refresh(self) -> None:
        if self.work is not None:
            self.form.show_list(self.work, self.current)
        self.listed.emit()

    def _on_progress(self, kind: str, update: Update) -> None:
        if kind == "open":
            self._say(f"{self.current}: {update.text}")

    def _fail(self, error: LatentFMError) -> None:
        show_error(str(error))
        self._say(str(error))
        self.settled.emit("failed")

    def _say(self, text: str) -> None:
        self.form.status.setText(text)
        self.status_changed.emit(text)

    def _connect(self) -> None:
        form = self.form
        for button, slot in (
            (form.open_button, self.open_folder),
            (form.previous, self.previous),
            (form.next, self.next),
            (form.accept, self.accept),
            (form.accept_empty, self.accept_empty),
            (form.flag, self.flag),
            (form.reset, self.reset),
            (form.measure, self.measure),
            (form.export, self.export),
            (form.sizes, self.export_sizes),
            (form.cancel, self.cancel),
        ):
            button.clicked.connect(partial(_call, slot))
        form.order.currentTextChanged.connect(self._on_order)
        for change in (
            form.model.currentTextChanged,
            form.model_folder.editingFinished,
            form.n_samples.valueChanged,
            form.order.currentTextChanged,
            form.skip.toggled,
        ):
            change.connect(self._remember)
        form.table.chosen.connect(self.open)
        listen(self, session_of(self._viewer).changed, self._describe)
        listen(self, self.keeper.recovery.offered, self._on_offer)
        self._navigator.opening.connect(self._on_opening)
        self._navigator.arrived.connect(self._show_image)
        self._navigator.unreadable.connect(self._on_unreadable)
        self._navigator.completed.connect(self._on_completed)
        self._navigator.warned.connect(_warn)
        self._navigator.failed.connect(self._fail)
        self.exporting.failed.connect(self._fail)
        self._states.changed.connect(self._refresh)
        self._states.failed.connect(self._fail)
        self._display.shown.connect(self._on_shown)
        self._display.failed.connect(self._fail)
        self.sampling.drawn.connect(self._on_drawn)
        self.sampling.cancelled.connect(self._on_cancelled)
        self.sampling.unreadable.connect(self._mark_bad)
        self.sampling.failed.connect(self._fail)
        self.sampler.progressed.connect(self._on_progress)


def _warn(text: str) -> None:
    show_error(text)


def _call(slot: Callable[[], None], _checked: bool = False) -> None:
    slot()


def _close(
    navigator: Navigator,
    sampling: ListSampling,
    display: SampleDisplay,
    exporting: Exporting,
    unsaved: UnsavedSearch,
    open_image: OpenImage,
    keys: KeyBindings,
) -> None:
    """Stop the work and save what was done; the widget itself is already deleted."""
    display.stop()
    navigator.close()
    sampling.sampler.close()
    exporting.close()
    unsaved.close()
    keep(navigator.work, open_image)
    open_image.close()
    keys.detach()
