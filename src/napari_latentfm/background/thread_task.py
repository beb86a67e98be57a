"""Small background tasks that report to the GUI thread.

Work that a user waits for runs in napari's workers: a closing window asks about these. napari
keeps them as long as the window lives, so that many small tasks would accumulate; and PyQt6 ends
the process if a worker ends after the window.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QObject, Qt
from qtpy.QtCore import Signal as QtSignal

from napari_latentfm.background.garbage import gui_collector

logger = logging.getLogger(__name__)


class ThreadTask(QObject):
    """One task in a separate thread, begun by `start`.

    Parameters
    ----------
    work
        Returns an iterator; the call and the iteration run in the thread.

    Attributes
    ----------
    reported
        Emitted in the GUI thread with each value of the iterator, until `quit`.
    ended
        Emitted in the GUI thread once, at the end.
    """

    reported = Signal(object)
    ended = Signal()
    _posted = QtSignal(object)

    def __init__(self, work: Callable[[], Iterator[Any]]) -> None:
        super().__init__()
        self._work: Callable[[], Iterator[Any]] | None = work
        self._stop = threading.Event()
        self._posted.connect(self._receive, Qt.ConnectionType.QueuedConnection)

    def start(self) -> None:
        """Start the thread."""
        # Its owner may drop it before it has ended.
        _RUNNING.add(self)
        ended = gui_collector().thread_starts()
        threading.Thread(target=self._run, args=(ended,), name="latentfm-task").start()

    def quit(self) -> None:
        """Report nothing more; the work ends when the iterator reaches its next value."""
        self._stop.set()

    def _run(self, ended: Callable[[], None]) -> None:
        work, self._work = self._work, None
        values: Iterator[Any] = iter(())
        try:
            values = values if work is None else work()
            del work
            for value in values:
                if self._stop.is_set():
                    break
                self._post((value,))
        except Exception:
            logger.exception("A background task failed")
        finally:
            del values
            self._post(())
            ended()

    def _post(self, message: tuple[Any, ...]) -> None:
        try:
            self._posted.emit(message)
        except RuntimeError:
            logger.debug("Qt ended before the task")

    def _receive(self, message: tuple[Any, ...]) -> None:
        if not message:
            _RUNNING.discard(self)
            self.ended.emit()
        elif not self._stop.is_set():
            self.reported.emit(*message)


_RUNNING: set[ThreadTask] = set()


class LatestTask:
    """Runs one task at a time; starting another one quits the previous one."""

    def __init__(self) -> None:
        self._task: ThreadTask | None = None

    def start(self, work: Callable[[], Iterator[Any]], report: Callable[[Any], None]) -> None:
        """Start a task instead of the previous one.

        Parameters
        ----------
        work
            As for `ThreadTask`.
        report
            Called in the GUI thread with each value; a bound method is held weakly.
        """
        self.quit()
        self._task = ThreadTask(work)
        self._task.reported.connect(report)
        self._task.start()

    def quit(self) -> None:
        """End the task, which then reports nothing more."""
        if self._task is not None:
            self._task.quit()
            self._task = None
