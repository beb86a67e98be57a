"""The panel under Plugins > LatentFM > Queue: a folder of images, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QScrollArea

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.classes import read_classes
from latentfm_core.worklist.order import doubt_of
from latentfm_core.worklist.state import WorkList
from napari_latentfm import preferences
from napari_latentfm.annotation.keeper import keeper_of
from napari_latentfm.background.job import Update
from napari_latentfm.background.signals import listen
from napari_latentfm.background.thread_task import ThreadTask
from napari_latentfm.background.turns import Turns
from napari_latentfm.layers.planes import load_units
from napari_latentfm.reading import reading_limits
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.status import describe
from napari_latentfm.ui.area import fill_dock
from napari_latentfm.ui.shortcuts import KeyBindings
from napari_latentfm.worklist.exporting import Exporting
from napari_latentfm.worklist.files import Opened, Snapshot
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.keeping import gone, keep, ready_as_empty, ready_to_accept
from napari_latentfm.worklist.measuring import Measuring, is_bad
from napari_latentfm.worklist.navigator import Walk
from napari_latentfm.worklist.open_image import Desk
from napari_latentfm.worklist.prefetch import Drawn, Sampler, Task
from napari_latentfm.worklist.unsaved import unsaved_images

if TYPE_CHECKING:
    import napari

logger = logging.getLogger(__name__)

SECTION = "queue"
ALL_DONE = "All images are done."


class QueuePanel(QScrollArea):
    """Goes through a folder of images: samples, annotation, next.

    Parameters
    ----------
    napari_viewer
        The viewer.
    own_keys
        Whether the panel binds its keys; False where it is part of a dock that does.

    Attributes
    ----------
    told
        Emitted with what the status line says.
    listed
        Emitted when another image is open, or something is known of an image of the list.
    shown
        Emitted with the name of an image when its samples are shown.
    settled
        Emitted with ``"done"`` or ``"failed"`` when opening an image has ended.
    form, desk, sampler
        Controls, the open image, the background work.
    """

    told = Signal(str)
    listed = Signal()
    shown = Signal(str)
    settled = Signal(str)

    def __init__(self, napari_viewer: napari.viewer.Viewer, own_keys: bool = True) -> None:
        super().__init__()
        load_units()
        self._own_keys = own_keys
        self._viewer = napari_viewer
        self.form = QueueForm()
        self.desk = Desk(napari_viewer)
        self.sampler = Sampler()
        self._walk = Walk(self.desk, self._drawn)
        self._measuring = Measuring(self.sampler, self.form.bar)
        self.exporting = Exporting(self.form)
        self._keys = KeyBindings(napari_viewer, self)
        self._direction = 1
        self._all_done = False
        fill_dock(self, "LatentFM queue", self.form)
        self.form.restore(preferences.get(SECTION))
        self.keeper = keeper_of(session_of(napari_viewer), self)
        self._looking: list[ThreadTask] = []
        self._showing: list[Turns[bool]] = []
        self._connect()
        parts = (self._walk, self.sampler, self.desk, self._keys, self._showing, self.exporting)
        self.destroyed.connect(partial(_part, *parts))

    @property
    def work(self) -> WorkList | None:
        """The work list, or None."""
        return self._walk.work

    @property
    def current(self) -> str | None:
        """File name of the open image."""
        return self.desk.name

    def open_folder(self) -> None:
        """Open the chosen folder as a work list, and its first image."""
        folder = self.form.folder.text().strip()
        output = self.form.output.text().strip()
        if not folder:
            self._say("Choose a folder of images first.")
            return
        if self._walk.moving:
            return
        into, chosen = Path(folder), Path(output) if output else None
        try:
            self._walk.leave(partial(self._start, into, chosen), self._moved(into, chosen))
        except LatentFMError as error:
            self._walk.moving = False
            self._fail(error)

    def next(self) -> None:
        """Keep the annotation and open the next image."""
        self._step(1)

    def previous(self) -> None:
        """Keep the annotation and open the image before."""
        self._step(-1)

    def open(self, name: str) -> None:
        """Keep the annotation of the open image, and open another one."""
        if self.work is None:
            return
        self._walk.wanted = name
        self._all_done = self._all_done and self.current is None
        if not self._walk.moving:
            self._walk.leave(self._walk.read)

    def accept(self) -> None:
        """Save the annotation, or else the mean mask, mark the image as done, open the next."""
        self._complete(ready_to_accept)

    def accept_empty(self) -> None:
        """Save that there is nothing to mark, mark the image as done and open the next."""
        self._complete(ready_as_empty)

    def _complete(self, ready: Callable[[WorkList, Desk, str, str], Snapshot | str]) -> None:
        work, name = self.work, self.current
        if work is None or name is None or self._walk.moving:
            return
        try:
            found = ready(work, self.desk, name, self.form.empty_name)
        except LatentFMError as error:
            self._fail(error)
            return
        if isinstance(found, Snapshot):
            self._walk.complete(found)
        else:
            self._say(f"{name}: {found}")

    def flag(self) -> None:
        """Mark the open image for somebody to look at, or unmark it."""
        if self.work is not None and self.current is not None:
            item = self.work.item(self.current)
            if item.state == "completed":
                self._update(self.current, flag=not item.flag)
                return
            # What was wrong with a file is no remark of a person's.
            cleared = {"note": ""} if is_bad(self.work, self.current) else {}
            state = "in progress" if item.flagged else "flagged"
            self._update(self.current, state=state, flag=False, **cleared)

    def note(self, text: str) -> None:
        """Keep a remark on the open image."""
        if self.work is not None and self.current is not None:
            self._update(self.current, note=text.strip())

    def reset(self) -> None:
        """Mark the open image as not started; its files stay."""
        if self.work is not None and self.current is not None:
            self._update(self.current, state="not started", note="", empty=False, flag=False)

    def measure(self) -> None:
        """Measure the doubt of all images of which it is not known, in the background."""
        if self.work is None:
            return
        try:
            tasks = [self._task(name) for name in self.work.names]
        except LatentFMError as error:
            self._fail(error)
            return
        self._measuring.start(self.work, tasks)

    def cancel(self) -> None:
        """Stop all background work; it ends within one ODE step."""
        self.sampler.stop("open", "ahead", "doubt")
        self._measuring.stop()
        self.exporting.cancel()
        self._say("Cancelled.")

    def export(self) -> None:
        """Ask for a format and a place, and export all accepted annotations there."""
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
        """Return napari key strings and what they do."""
        return {
            "PageUp": self.previous,
            "PageDown": self.next,
            "Ctrl-Enter": self.accept,
            "Ctrl-Shift-Enter": self.accept_empty,
        }

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Keep the work when the panel is taken out of its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            self._keys.release()
            if self.parent() is None:
                self.release()
            elif self._own_keys:
                self._keys.bind(self.key_actions())

    def release(self) -> None:
        """Stop the background work and keep the annotation, since nobody sees the panel."""
        self.cancel()
        self.keep_now()

    def keep_now(self) -> None:
        """Write the annotation and the time of the open image at once."""
        keep(self.work, self.desk)

    def _moved(self, folder: Path, output: Path | None) -> WorkList | None:
        """Return the work list as it goes on, if no more than its output folder is another."""
        if self.work is None or folder != self.work.folder:
            return self.work
        return WorkList(folder, output, reading_limits())

    def _start(self, folder: Path, output: Path | None) -> None:
        self._walk.moving = False
        self.sampler.stop("open", "ahead", "doubt")
        try:
            work = WorkList(folder, output, reading_limits())
        except LatentFMError as error:
            self._fail(error)
            return
        older, again = self.work, self.current
        self.desk.put_aside()
        self._walk.work = work
        self._remember(folder=str(folder), output=str(output or ""))
        self._refresh()
        if work.warning:
            show_error(work.warning)
        first = self.form.neighbour(work, None, 1)
        if older is not None and older.folder == folder and older.output != work.output:
            first = again if again in work.names else first  # only the output is another
        self._look_for_unsaved()
        self._all_done = first is None
        # The viewer is never left empty.
        self.open(first or self.form.names(work)[0])
        if self.form.by_doubt:
            self.measure()

    def _step(self, by: int, here: str | None = None) -> None:
        if self.work is None:
            return
        self._direction = by
        if here is None:
            moving = self._walk.moving or self.current is None
            here = self._walk.wanted if moving else self.current
        found = self.form.neighbour(self.work, here, by)
        if found is None:
            self._say(self._end_of_list(by))
        else:
            self.open(found)

    def _on_offer(self, offer: object) -> None:
        """Look again what can be recovered when an offer was answered, and that is done."""
        if offer is None:
            self.keeper.autosaver.work.submit(list, self._look_for_unsaved)

    def _look_for_unsaved(self, _done: object = None) -> None:
        """Mark the images of which work can be recovered."""
        if self.work is None:
            return
        for lookup in self._looking:
            lookup.quit()
        self._looking.clear()
        store = self.keeper.autosaver.store
        lookup = ThreadTask(partial(unsaved_images, store, self.work, reading_limits()))
        listen(self, lookup.reported, self.form.table.mark_unsaved)
        self._looking.append(lookup)
        self.form.table.mark_unsaved(frozenset())
        lookup.start()

    def _end_of_list(self, by: int) -> str:
        if by < 0:
            return "This is the first image."
        if self.work is not None and self.form.neighbour(self.work, None, 1) is None:
            return f"{ALL_DONE} {self.current} is still open."
        return "This is the last image."

    def _on_opening(self, name: str) -> None:
        self.sampler.stop("open")
        self._say(f"Opening {name}…")

    def _drawn(self, name: str) -> Drawn | None:
        try:
            return self.sampler.find(self._task(name))
        except LatentFMError:
            return None  # said when samples are to be drawn

    def _on_unreadable(self, name: str, error: object) -> None:
        if not self._is_gone():
            self._mark_bad(name, error)
            self._step(self._direction, name)

    def _on_completed(self, _name: str, _path: Path) -> None:
        if self.desk.annotation is not None:
            # It is in a file now, and no more offered after a crash.
            self.keeper.autosaver.exported(self.desk.annotation, self.desk.digest)
        self._refresh()
        self._step(1)

    def _show_image(self, name: str, opened: Opened) -> None:
        self._stop_showing()
        self.desk.class_names = {} if self.work is None else read_classes(self.work.output)
        self.desk.lay_out(name, opened)
        self.desk.clock.watch_around(self)
        self._refresh()
        if opened.warning:
            show_error(opened.warning)
        try:
            task = self._task(name)
        except LatentFMError as error:
            self._fail(error)
            return
        drawn = self.sampler.find(task)
        if drawn is not None:
            self._show_samples(task, drawn)
        else:
            self._say(f"{name}: drawing samples…")
            self.sampler.open(task, opened.image)

    def _show_samples(self, task: Task, drawn: Drawn) -> None:
        self._stop_showing()
        steps = self.desk.show_steps(task, drawn)
        self._showing.append(Turns(steps, partial(self._on_shown, task), self._on_not_shown))

    def _stop_showing(self) -> None:
        for turns in self._showing:
            turns.abandon()
        self._showing.clear()

    def _on_not_shown(self, error: Exception) -> None:
        self._showing.clear()
        if not isinstance(error, LatentFMError):
            raise error
        self._fail(error)

    def _on_shown(self, task: Task, shown: bool | None) -> None:
        self._showing.clear()
        if not shown:
            return
        self._tell()
        self._read_ahead()
        self.shown.emit(task.name)
        self.settled.emit("done")

    def _tell(self) -> None:
        """Tell the figures of what is on screen, as after strokes."""
        current = session_of(self._viewer).current
        if current is not None and self.desk.is_reviewed:
            told = describe(current.layer, current.plane, current.result)
            self._say(f"{ALL_DONE} {told}" if self._all_done else told)

    def _read_ahead(self) -> None:
        if self.work is None:
            return
        following = self.form.neighbour(self.work, self.current, 1)
        self.sampler.read_ahead(None if following is None else self._task(following))

    def _on_ended(self, task: Task, kind: str, drawn: Drawn | None, error: Any) -> None:
        if self.work is None or task.path.parent != self.work.folder:
            return
        if drawn is not None:
            doubt = doubt_of(drawn.result.summary)
            cleared = {"note": ""} if is_bad(self.work, task.name) else {}
            if not self._update(task.name, doubt=doubt, doubt_of=task.key(), **cleared):
                self.sampler.stop("ahead", "doubt")  # the next could not be noted either
        elif isinstance(error, ImageError) and self._is_gone():
            pass
        elif isinstance(error, ImageError):
            self._mark_bad(task.name, error)
        elif error is not None:
            # Not the fault of one image: the others would fail alike.
            self.sampler.stop("ahead", "doubt")
            self._fail(error)
        self._measuring.show()
        if kind != "open" or task.name != self.current:
            return
        if drawn is not None:
            self._show_samples(task, drawn)
        elif error is None:
            self._say("Cancelled. Open the image again to draw its samples.")
            self.settled.emit("failed")

    def _update(self, name: str, **changes: object) -> bool:
        try:
            if self.work is not None:
                self.work.update(name, **changes)
        except LatentFMError as error:
            self._fail(error)
            return False
        self._refresh()
        return True

    def _mark_bad(self, name: str, error: object) -> None:
        self._update(name, state="flagged", note=str(error), doubt=None, doubt_of="")
        self._say(f"{name} is flagged: {error}")
        self.settled.emit("failed")

    def _is_gone(self) -> bool:
        """Tell whether the whole folder vanished, and say so."""
        problem = gone(self.work)
        if problem is not None:
            self.sampler.stop("ahead", "doubt")
            self._fail(problem)
        return problem is not None

    def _task(self, name: str) -> Task:
        if self.work is None:
            raise LatentFMError("Open a folder first.")
        return Task(name, self.work.path(name), self.form.source(), self.form.settings())

    def _on_order(self, _text: str) -> None:
        self._refresh()
        if self.form.by_doubt:
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
        self.told.emit(text)

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
        listen(self, session_of(self._viewer).changed, self._tell)
        listen(self, self.keeper.recovery.offered, self._on_offer)
        self._walk.opening.connect(self._on_opening)
        self._walk.arrived.connect(self._show_image)
        self._walk.unreadable.connect(self._on_unreadable)
        self._walk.completed.connect(self._on_completed)
        self._walk.warned.connect(_warn)
        self._walk.failed.connect(self._fail)
        self.exporting.failed.connect(self._fail)
        self.sampler.ended.connect(self._on_ended)
        self.sampler.progressed.connect(self._on_progress)


def _warn(text: str) -> None:
    show_error(text)


def _call(slot: Callable[[], None], _checked: bool = False) -> None:
    slot()


def _part(
    walk: Walk,
    sampler: Sampler,
    desk: Desk,
    keys: KeyBindings,
    showing: list[Turns[bool]],
    exporting: Exporting,
) -> None:
    """Stop the work and keep what was done; the widget itself is gone."""
    for turns in showing:
        turns.abandon()
    walk.close()
    sampler.close()
    exporting.close()
    keep(walk.work, desk)
    desk.close()
    keys.part()
