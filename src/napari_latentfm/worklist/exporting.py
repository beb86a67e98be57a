"""Export of all accepted annotations in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from psygnal import Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.accepted import Progress, export_accepted, export_files
from latentfm_core.worklist.state import WorkList
from napari_latentfm.background.task_queue import reported
from napari_latentfm.background.thread_task import ThreadTask
from napari_latentfm.notices import show_warning
from napari_latentfm.reading import reading_limits
from napari_latentfm.ui.common import on_click
from napari_latentfm.worklist.export_dialog import Wanted, ask_export
from napari_latentfm.worklist.form import QueueForm
from napari_latentfm.worklist.navigator import Navigator

_PROBLEMS_SHOWN = 3


class Exporting:
    """Asks for format and target, exports, and shows the progress.

    Parameters
    ----------
    form
        Form whose buttons start it, and whose bar and status line show the progress.

    Attributes
    ----------
    ask
        Asks for the options; called with the work list and whether to export measurements.
    may_replace
        Asks whether existing files may be replaced.
    finished
        Emitted with ``"done"``, ``"failed"`` or ``"cancelled"``.
    """

    finished = Signal(str)
    failed = Signal(object)

    def __init__(self, form: QueueForm, navigator: Navigator) -> None:
        self._form, self._navigator = form, navigator
        self._task: ThreadTask | None = None
        self._ending = ""
        self._asking = False
        self.ask: Callable[[WorkList, bool], Wanted | None] = partial(ask_export, form)
        self.may_replace: Callable[[list[Path]], bool] = partial(_may_replace, form)
        on_click(form.export, partial(self._save_and_ask, table=False))
        on_click(form.sizes, partial(self._save_and_ask, table=True))

    @property
    def busy(self) -> bool:
        """Whether an export is running."""
        return self._task is not None

    def _save_and_ask(self, table: bool) -> None:
        """Save the open image: changes since it was accepted are not in any file yet."""
        self._navigator.save(partial(self._ask, table))

    def _ask(self, table: bool) -> None:
        """Ask for the options, and export annotations or a table of measurements."""
        work = self._navigator.work
        if self.busy or self._asking or work is None:
            return
        self._asking = True
        try:
            wanted = self.ask(work, table)
        finally:
            self._asking = False
        if wanted is not None:
            self._start(work, wanted)

    def _start(self, work: WorkList, wanted: Wanted) -> None:
        try:
            files = set(export_files(work, wanted.target, wanted.kind).values())
            existing = sorted(file for file in files if file.exists())
        except LatentFMError as error:
            self.failed.emit(error)
            self.finished.emit("failed")
            return
        if existing and not self.may_replace(existing):
            return
        self._ending = "cancelled"
        task = ThreadTask(partial(_steps, work, wanted))
        task.reported.connect(partial(self._on_progress, wanted))
        task.ended.connect(self._on_ended)
        self._task = task
        self._form.show_busy("export", True)
        task.start()

    def cancel(self) -> None:
        """Stop after the current image, which is written completely."""
        if self._task is not None:
            self._task.quit()

    def close(self) -> None:
        """Stop without further signals; the window is closed."""
        if self._task is not None:
            self._task.quit()
            self._task.reported.disconnect()
            self._task.ended.disconnect()

    def _on_progress(self, wanted: Wanted, report: object) -> None:
        if isinstance(report, LatentFMError):
            self._ending = "failed"
            self.failed.emit(report)
        elif isinstance(report, Progress):
            self._form.bar.setRange(0, max(1, report.total))
            self._form.bar.setValue(report.done)
            text = f"Exporting {report.name} ({report.done + 1} of {report.total})…"
            if not report.name:
                self._ending = "done"
                text = _summary(report, wanted.target.name)
                if report.problems or report.notes:
                    show_warning(text)
            self._form.status.setText(text)

    def _on_ended(self) -> None:
        self._task = None
        self._form.show_busy("export", False)
        self.finished.emit(self._ending)


def _steps(work: WorkList, wanted: Wanted) -> Iterator[object]:
    try:
        yield from export_accepted(
            work, wanted.target, wanted.kind, wanted.separate, wanted.size, reading_limits()
        )
    except Exception as error:
        yield reported(error)


def _summary(report: Progress, target: str) -> str:
    """Return a summary of the exported images and of those that failed."""
    count = report.total - len(report.problems)
    text = f"Exported {'1 image' if count == 1 else f'{count} images'} to {target}."
    text = " ".join((text, *report.notes))
    if not report.problems:
        return text
    more = len(report.problems) - _PROBLEMS_SHOWN
    listed = " ".join(report.problems[:_PROBLEMS_SHOWN]) + (
        f" And {more} more." if more > 0 else ""
    )
    return f"{text} Not exported: {listed}"


def _may_replace(parent: QWidget, files: list[Path]) -> bool:
    named = ", ".join(file.name for file in files[:3]) + ("…" if len(files) > 3 else "")
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    text = f"{len(files)} of the files exist already: {named}\nReplace them?"
    return QMessageBox.question(parent, "LatentFM", text, yes | no, no) == yes
