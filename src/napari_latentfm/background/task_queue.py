"""A queue of tasks for a worker thread, run one at a time and in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from latentfm_core.errors import LatentFMError, ResourceError
from napari_latentfm.background.thread_task import ThreadTask

logger = logging.getLogger(__name__)


def reported(error: Exception) -> LatentFMError:
    """Turn any error of a task into one for the user; an unexpected one is logged."""
    if isinstance(error, LatentFMError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("Not enough memory. Close other images and try again.")
    logger.error("A background task failed", exc_info=error)
    return LatentFMError(
        f"Failed because of a bug in napari-latentfm ({type(error).__name__}: {error}). Please "
        "report it, with the details in the log."
    )


class _Task:
    """One task; the first thread that calls `run` does it, and others wait until it is done."""

    def __init__(self, task: Callable[[], Any], done: Callable[[Any], None] | None) -> None:
        self._task: Callable[[], Any] | None = task
        self._done = done
        self._lock = threading.Lock()
        self._result: Any = None

    def run(self) -> None:
        with self._lock:
            task, self._task = self._task, None
            if task is None:
                return
            try:
                self._result = task()
            except Exception as error:
                self._result = reported(error)

    def steps(self) -> Iterator[None]:
        """Run the task; it reports nothing before its end."""
        self.run()
        return iter(())

    def report(self) -> None:
        """Call the listener, and release everything that the task holds."""
        done, result = self._done, self._result
        self._done = self._result = None
        if done is not None:
            done(result)


class TaskQueue:
    """Runs tasks in worker threads, one at a time and in order.

    A task returns a value or raises; its listener gets the value, or the error as a
    `LatentFMError`, in the GUI thread.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Task] = deque()
        self._running: _Task | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a task is running."""
        return self._running is not None

    def submit(self, task: Callable[[], Any], done: Callable[[Any], None] | None = None) -> None:
        """Run `task` in a worker thread after all tasks that were submitted before."""
        if self._closed:
            return
        self._waiting.append(_Task(task, done))
        self._next()

    def drain(self) -> None:
        """Wait until all tasks are done; those that have not begun run in this thread."""
        entry, self._running = self._running, None
        if entry is not None:
            entry.run()
            self._report(entry)
        while self._waiting:
            entry = self._waiting.popleft()
            entry.run()
            self._report(entry)

    def close(self) -> None:
        """Finish the remaining tasks without reporting."""
        self._closed = True
        self.drain()

    def _next(self) -> None:
        if self._running is not None or not self._waiting:
            return
        entry = self._running = self._waiting.popleft()
        thread = ThreadTask(entry.steps)
        thread.ended.connect(partial(self._on_ended, entry))
        thread.start()

    def _on_ended(self, entry: _Task) -> None:
        try:
            if entry is self._running:
                self._running = None
                self._report(entry)
        finally:
            # An error of a listener must not block the other tasks.
            self._next()

    def _report(self, entry: _Task) -> None:
        if not self._closed:
            entry.report()
