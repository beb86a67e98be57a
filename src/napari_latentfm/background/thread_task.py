"""Small work in a thread of its own, which tells the GUI thread what it found.

Work that a user waits for goes through napari's own workers, which its window knows and asks about
when it is closed. It knows them for as long as it lives, though, so that the small work of a day
would pile up there; and PyQt6 ends the process if one of them ends after the window.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QObject, Qt
from qtpy.QtCore import Signal as QtSignal

logger = logging.getLogger(__name__)


class Errand(QObject):
    """One piece of work, begun by `start`.

    Parameters
    ----------
    work
        Returns an iterator; both it and what it does run in the thread.

    Attributes
    ----------
    told
        Emitted in the GUI thread with each value of the iterator, until `quit`.
    ended
        Emitted in the GUI thread once, at last.
    """

    told = Signal(object)
    ended = Signal()
    _posted = QtSignal(object)

    def __init__(self, work: Callable[[], Iterator[Any]]) -> None:
        super().__init__()
        self._work: Callable[[], Iterator[Any]] | None = work
        self._stop = threading.Event()
        self._posted.connect(self._receive, Qt.ConnectionType.QueuedConnection)

    def start(self) -> None:
        """Begin."""
        # Until it has ended; who began it may lose interest.
        _UNDER_WAY.add(self)
        threading.Thread(target=self._run, name="latentfm-errand").start()

    def quit(self) -> None:
        """Tell nothing more; the work ends when the iterator comes to its next value."""
        self._stop.set()

    def _run(self) -> None:
        work, self._work = self._work, None
        found: Iterator[Any] = iter(()) if work is None else work()
        del work
        try:
            for value in found:
                if self._stop.is_set():
                    break
                self._post((value,))
        except Exception:
            logger.exception("Work in the background failed")
        finally:
            del found
            self._post(())

    def _post(self, letter: tuple[Any, ...]) -> None:
        try:
            self._posted.emit(letter)
        except RuntimeError:
            logger.debug("Qt ended before the work did")

    def _receive(self, letter: tuple[Any, ...]) -> None:
        if not letter:
            _UNDER_WAY.discard(self)
            self.ended.emit()
        elif not self._stop.is_set():
            self.told.emit(*letter)


_UNDER_WAY: set[Errand] = set()
