"""The panel under Plugins > LatentFM > Queue: a folder of images, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QScrollArea

from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.worklist.order import doubt_of, ordered, step, tally
from latentfm_core.worklist.state import WorkList
from napari_latentfm import preferences
from napari_latentfm.jobs import Update
from napari_latentfm.queue.background import Drawn, Sampler, Task
from napari_latentfm.queue.desk import Desk
from napari_latentfm.queue.form import BY_DOUBT, QueueForm
from napari_latentfm.queue.keeping import count_time, going_on, gone, keep, note_unfinished
from napari_latentfm.queue.saving import Opened, Snapshot, load, remove, save_in
from napari_latentfm.reading import reading_limits
from napari_latentfm.review.keys import KeyBindings
from napari_latentfm.review.serial import SerialWork

if TYPE_CHECKING:
    import napari

logger = logging.getLogger(__name__)

MIN_WIDTH = 310
SECTION = "queue"
NOTHING_DRAWN = (
    "Nothing is annotated. Take a mask or paint; if there is nothing to mark in this image, "
    "press Completed once more."
)


class QueuePanel(QScrollArea):
    """Goes through a folder of images: samples, annotation, next.

    Parameters
    ----------
    napari_viewer
        The viewer.

    Attributes
    ----------
    shown
        Emitted with the name of an image when its samples are shown.
    settled
        Emitted with ``"done"`` or ``"failed"`` when opening an image has ended.
    form, desk, sampler
        Controls, the open image, the background work.
    work
        The work list, or None.
    """

    shown = Signal(str)
    settled = Signal(str)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.work: WorkList | None = None
        self.form = QueueForm()
        self.desk = Desk(napari_viewer)
        self.sampler = Sampler()
        self._worker = SerialWork()
        self._keys = KeyBindings(napari_viewer, self)
        self._moving = False
        self._wanted: str | None = None
        self._direction = 1
        self._confirm: str | None = None
        self._unsaved: tuple[str, Path] | None = None
        self._to_measure = 0
        self._closed = False
        self._lay_out()
        self._connect()
        self.destroyed.connect(
            partial(_part, self.sampler, self._worker, self.desk, self._keys, self)
        )

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
        if self._moving:
            return
        into, chosen = Path(folder), Path(output) if output else None
        try:
            self._leave(partial(self._start, into, chosen), self._moved(into, chosen))
        except LatentFMError as error:
            self._moving = False
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
        self._wanted = name
        if not self._moving:
            self._leave(self._load)

    def complete(self) -> None:
        """Save the annotation, mark the image as completed and open the next."""
        work, name = self.work, self.current
        if work is None or name is None or self._moving:
            return
        snapshot = self.desk.snapshot(force=True)
        if snapshot is None and work.kept(name) is not None:
            self._say("Wait until the annotation that was kept is shown.")
            return
        if (snapshot is None or not snapshot.labels.any()) and self._confirm != name:
            self._confirm = name
            self._say(NOTHING_DRAWN)
            return
        if snapshot is None:
            self.desk.ensure_annotation()
            self._say("Wait for the samples: an annotation begins with them.")
            snapshot = self.desk.snapshot(force=True)
            if snapshot is None:
                return
        self._moving = True
        path = work.annotation(name)
        self._worker.submit(
            partial(save_in, work, snapshot, path), partial(self._completed, work, snapshot, path)
        )

    def flag(self) -> None:
        """Mark the open image for somebody to look at, or unmark it."""
        if self.work is not None and self.current is not None:
            flagged = self.work.item(self.current).state == "flagged"
            self._update(self.current, state="in progress" if flagged else "flagged", note="")

    def reset(self) -> None:
        """Mark the open image as not started; its files stay."""
        if self.work is not None and self.current is not None:
            self._update(self.current, state="not started", note="")

    def measure(self) -> None:
        """Measure the doubt of all images of which it is not known, in the background."""
        if self.work is None:
            return
        try:
            tasks = [self._task(name) for name in self.work.names]
        except LatentFMError as error:
            self._fail(error)
            return
        tasks = [t for t in tasks if not self._is_known(t) and not self._is_bad(t.name)]
        self._to_measure = len(tasks)
        self.sampler.measure(tasks)
        self._show_measuring()

    def cancel(self) -> None:
        """Stop all background work; it ends within one ODE step."""
        self.sampler.stop("open", "ahead", "doubt")
        self._to_measure = 0
        self._show_measuring()
        self._say("Cancelled.")

    def actions(self) -> dict[str, Callable[[], None]]:  # type: ignore[override]
        """Return napari key strings and what they do."""
        return {"PageUp": self.previous, "PageDown": self.next, "Ctrl-Enter": self.complete}

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Keep the work when the panel is taken out of its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            self._keys.release()
            if self.parent() is not None:
                self._keys.bind(self.actions())
            else:
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
        self._moving = False
        self.sampler.stop("open", "ahead", "doubt")
        try:
            work = WorkList(folder, output, reading_limits())
        except LatentFMError as error:
            self._fail(error)
            return
        older, again = self.work, self.current
        self.desk.clear()
        self.work = work
        self._remember(folder=str(folder), output=str(output or ""))
        self._refresh()
        if work.warning:
            show_error(work.warning)
        first = step(self._names(), work.items(), None, 1, self.form.skip.isChecked())
        if older is not None and older.folder == folder and older.output != work.output:
            first = again if again in work.names else first  # only the output is another
        if first is None:
            self._say("All images are completed.")
        else:
            self.open(first)
            if self.form.order.currentText() == BY_DOUBT:
                self.measure()

    def _step(self, by: int) -> None:
        if self.work is None:
            return
        self._direction = by
        here = self._wanted if self._moving or self.current is None else self.current
        found = step(self._names(), self.work.items(), here, by, self.form.skip.isChecked())
        if found is None:
            self._say("This is the last image." if by > 0 else "This is the first image.")
        else:
            self.open(found)

    def _leave(self, then: Callable[[], None], into: WorkList | None = None) -> None:
        """Keep the annotation of the open image, then go on; stay if it cannot be kept.

        `into` is where it is kept; None at all steps from image to image of the same list.
        """
        self._moving = True
        snapshot, work = self.desk.snapshot(), into or self.work
        if snapshot is None or work is None:
            self._count_time()
            then()
            return
        path = work.unfinished(snapshot.name)
        if into is not None and self._unsaved == (snapshot.digest, path):
            self.desk.let_go()
            show_error(going_on("", unsaved=True))
            then()
            return
        done = partial(self._left, work, snapshot, path, then)
        self._worker.submit(partial(save_in, work, snapshot, path), done)

    def _left(
        self, work: WorkList, snapshot: Snapshot, path: Path, then: Callable[[], None], error: Any
    ) -> None:
        try:
            if isinstance(error, LatentFMError):
                raise error
            note_unfinished(work, snapshot.name, path)
            count_time(work, self.desk)
        except LatentFMError as problem:
            self._moving, self._unsaved = False, (snapshot.digest, path)
            self._fail(LatentFMError(going_on(problem, unsaved=False)))
            return
        self.desk.is_kept(snapshot)
        self._unsaved = None
        then()

    def _load(self) -> None:
        work, name = self.work, self._wanted
        if work is None or name is None:
            self._moving = False
            return
        self.sampler.stop("open")
        self._confirm = None
        self.desk.clear()
        self._refresh()
        self._say(f"Opening {name}…")
        try:
            drawn = self.sampler.find(self._task(name))
        except LatentFMError:
            drawn = None  # said when samples are to be drawn
        image = None if drawn is None else drawn.image
        read = partial(load, work.path(name), image, work.kept(name))
        self._worker.submit(read, partial(self._loaded, name))

    def _loaded(self, name: str, opened: Any) -> None:
        if name != self._wanted:
            self._load()
            return
        self._moving = False
        if isinstance(opened, Opened):
            self._show_image(name, opened)
        elif not self._is_gone():
            self._mark_bad(name, opened)
            self._step(self._direction)

    def _show_image(self, name: str, opened: Opened) -> None:
        self.desk.lay_out(name, opened)
        self._watch()
        self._refresh()
        if opened.warning:
            show_error(opened.warning)
        try:
            task = self._task(name)
        except LatentFMError as error:
            self._fail(error)
            return
        drawn = self.sampler.find(task)
        if drawn is None:
            self._say(f"Drawing samples of {name}…")
            self.sampler.open(task, opened.image)
        else:
            self._show_samples(task, drawn)

    def _show_samples(self, task: Task, drawn: Drawn) -> None:
        try:
            self.desk.show(task, drawn)
        except LatentFMError as error:
            self._fail(error)
            return
        self._say(f"{task.name}: {len(drawn.result.samples)} samples.")
        self._read_ahead()
        self.shown.emit(task.name)
        self.settled.emit("done")

    def _read_ahead(self) -> None:
        if self.work is None:
            return
        skip = self.form.skip.isChecked()
        following = step(self._names(), self.work.items(), self.current, 1, skip)
        self.sampler.read_ahead(None if following is None else self._task(following))

    def _on_ended(self, task: Task, kind: str, drawn: Drawn | None, error: Any) -> None:
        if self.work is None or task.path.parent != self.work.folder:
            return
        if drawn is not None:
            doubt = doubt_of(drawn.result.summary)
            if not self._update(task.name, doubt=doubt, doubt_of=task.key()):
                self.sampler.stop("ahead", "doubt")  # the next could not be noted either
        elif isinstance(error, ImageError) and self._is_gone():
            pass
        elif isinstance(error, ImageError):
            self._mark_bad(task.name, error)
        elif error is not None:
            # Not the fault of one image: the others would fail alike.
            self.sampler.stop("ahead", "doubt")
            self._fail(error)
        self._show_measuring()
        if kind != "open" or task.name != self.current:
            return
        if drawn is not None:
            self._show_samples(task, drawn)
        elif error is None:
            self._say("Cancelled. Open the image again to draw its samples.")
            self.settled.emit("failed")

    def _completed(self, work: WorkList, snapshot: Snapshot, path: Path, error: Any) -> None:
        self._moving = False
        if isinstance(error, LatentFMError):
            self._fail(error)
            return
        name = snapshot.name
        self.desk.is_kept(snapshot)
        unfinished = work.unfinished(name)
        self._count_time()
        if self._update(name, state="completed", file=path.name, note=""):
            remove(unfinished)
            self._step(1)

    def _update(self, name: str, **changes: object) -> bool:
        try:
            if self.work is not None:
                self.work.update(name, **changes)
        except LatentFMError as error:
            self._fail(error)
            return False
        self._refresh()
        return True

    def _count_time(self) -> None:
        try:
            count_time(self.work, self.desk)
        except LatentFMError as error:
            self._fail(error)

    def _mark_bad(self, name: str, error: object) -> None:
        self._update(name, state="flagged", note=str(error))
        self._say(f"{name} is flagged: {error}")
        self.settled.emit("failed")

    def _is_gone(self) -> bool:
        """Tell whether the whole folder vanished, and say so."""
        problem = gone(self.work)
        if problem is not None:
            self.sampler.stop("ahead", "doubt")
            self._fail(problem)
        return problem is not None

    def _is_bad(self, name: str) -> bool:
        item = None if self.work is None else self.work.item(name)
        return item is not None and item.state == "flagged" and bool(item.note)

    def _is_known(self, task: Task) -> bool:
        item = None if self.work is None else self.work.item(task.name)
        return item is not None and item.doubt is not None and item.doubt_of == task.key()

    def _task(self, name: str) -> Task:
        if self.work is None:
            raise LatentFMError("Open a folder first.")
        return Task(name, self.work.path(name), self.form.source(), self.form.settings())

    def _names(self) -> list[str]:
        if self.work is None:
            return []
        by_doubt = self.form.order.currentText() == BY_DOUBT
        return ordered(self.work.items(), "doubt" if by_doubt else "name")

    def _on_order(self, _text: str) -> None:
        self._refresh()
        if self.form.order.currentText() == BY_DOUBT:
            self.measure()

    def _remember(self, *_: object, **folders: str) -> None:
        preferences.put(SECTION, {**preferences.get(SECTION), **self.form.state(), **folders})

    def _refresh(self) -> None:
        if self.work is not None:
            items = self.work.items()
            self.form.table.fill(self._names(), items, self.current)
            self.form.tally.setText(str(tally(items)))

    def _show_measuring(self) -> None:
        left = self.sampler.measuring
        self.form.bar.setRange(0, max(1, self._to_measure))
        self.form.bar.setValue(max(0, self._to_measure - left))

    def _on_progress(self, kind: str, update: Update) -> None:
        if kind == "open":
            self._say(update.text)

    def _watch(self) -> None:
        top: Any = self
        while top.parentWidget() is not None:
            top = top.parentWidget()
        self.desk.clock.watch(top.windowHandle())

    def _fail(self, error: LatentFMError) -> None:
        show_error(str(error))
        self._say(str(error))
        self.settled.emit("failed")

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    def _connect(self) -> None:
        form = self.form
        for button, slot in (
            (form.open_button, self.open_folder),
            (form.previous, self.previous),
            (form.next, self.next),
            (form.complete, self.complete),
            (form.flag, self.flag),
            (form.reset, self.reset),
            (form.measure, self.measure),
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
        self.sampler.ended.connect(self._on_ended)
        self.sampler.progressed.connect(self._on_progress)

    def _lay_out(self) -> None:
        self.setObjectName("LatentFM queue")
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(MIN_WIDTH)
        self.setWidget(self.form)
        last = preferences.get(SECTION)
        self.form.folder.setText(str(last.get("folder", "")))
        self.form.output.setText(str(last.get("output", "")))
        self.form.restore(last)


def _call(slot: Callable[[], None], _checked: bool = False) -> None:
    slot()


def _part(
    sampler: Sampler, worker: SerialWork, desk: Desk, keys: KeyBindings, panel: QueuePanel
) -> None:
    """Stop the work and keep what was done; the widget itself is gone."""
    worker.close()
    sampler.close()
    keep(panel.work, desk)
    desk.close()
    keys.part()
