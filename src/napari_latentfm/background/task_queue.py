"""Work that happens in a worker thread, one piece after the other."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from latentfm_core.errors import LatentFMError
from napari_latentfm.background.thread_task import Errand

logger = logging.getLogger(__name__)


class _Piece:
    """One piece of work; whoever comes first does it, and others wait for the end."""

    def __init__(self, task: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._task: Callable[[], Any] | None = task
        self._done: Callable[[Any], None] | None = done
        self._lock = threading.Lock()
        self._result: Any = None

    def run(self) -> None:
        with self._lock:
            task, self._task = self._task, None
            if task is None:
                return
            try:
                self._result = task()
            except LatentFMError as error:
                self._result = error
            except Exception as error:
                logger.exception("Work in the background failed")
                self._result = LatentFMError(
                    f"Failed through a defect of the program ({type(error).__name__}: {error}). "
                    "The log holds the details; please report them."
                )

    def steps(self) -> Iterator[None]:
        """Do it; there is nothing to tell before the end."""
        self.run()
        return iter(())

    def report(self) -> None:
        """Tell the listener, and let go of everything: Qt's worker outlives its work."""
        done, result = self._done, self._result
        self._done = self._result = None
        if done is not None:
            done(result)


class SerialWork:
    """A queue of work in worker threads, one at a time and in order.

    A task returns a value, or raises; its listener gets the value, or the error as a
    `LatentFMError`, in the GUI thread.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Piece] = deque()
        self._running: _Piece | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._running is not None

    def submit(self, task: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do `task` in a worker thread when what was submitted before has ended."""
        if self._closed:
            return
        self._waiting.append(_Piece(task, done))
        self._next()

    def drain(self) -> None:
        """Wait until all work has been done; what has not begun is done here."""
        piece, self._running = self._running, None
        if piece is not None:
            piece.run()
            self._report(piece)
        while self._waiting:
            piece = self._waiting.popleft()
            piece.run()
            self._report(piece)

    def close(self) -> None:
        """Do what is left, and report nothing any more."""
        self._closed = True
        self.drain()

    def _next(self) -> None:
        if self._running is not None or not self._waiting:
            return
        piece = self._running = self._waiting.popleft()
        errand = Errand(piece.steps)
        errand.ended.connect(partial(self._on_ended, piece))
        errand.start()

    def _on_ended(self, piece: _Piece) -> None:
        if piece is self._running:
            self._running = None
            self._report(piece)
        self._next()

    def _report(self, piece: _Piece) -> None:
        if not self._closed:
            piece.report()
