"""Signal connections and timers that end with their widget, and workers with safe signals."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from inspect import signature
from typing import Any, Protocol, TypeVar
from weakref import WeakMethod

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtCore import Signal as QtSignal

from napari_latentfm.background.garbage import gui_collector

Yielded = TypeVar("Yielded")
Returned = TypeVar("Returned")


class Source(Protocol):
    """A signal of psygnal, or an event emitter of napari."""

    def connect(self, slot: Any, /) -> Any:
        """Call `slot` from now on."""

    def disconnect(self, slot: Any, /) -> Any:
        """Stop calling `slot`, if it was connected."""


def listen(widget: QObject, source: Source, slot: Callable[..., object]) -> Callable[[], None]:
    """Connect a method to a signal until the C++ side of `widget` is deleted.

    A window that closes deletes its panels while Python may still hold them; a signal that
    outlives the window would then call into a deleted widget.

    Parameters
    ----------
    widget
        Widget whose deletion ends the connection.
    source
        A signal of an object that may outlive the widget.
    slot
        A bound method, held weakly.

    Returns
    -------
    Callable
        Ends the connection earlier. `source.disconnect(slot)` would not: it knows another function.
    """
    relay = _relay(slot)
    source.connect(relay)
    deletion = widget.destroyed.connect(partial(_disconnect, source, relay))

    def end() -> None:
        QObject.disconnect(deletion)
        _disconnect(source, relay)

    return end


def pause_timer(owner: QObject, pause: int, slot: Callable[[], None]) -> QTimer:
    """Return a timer that calls `slot` once, `pause` ms after its last start.

    It ends with its owner.
    """
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(pause)
    timer.timeout.connect(slot)
    return timer


class NextTurn(QObject):
    """Calls a function once in the next turn of the event loop, before the window is repainted.

    A timer of 0 ms would wait for the repaint. It ends with its owner.

    Attributes
    ----------
    is_due
        Whether the call is yet to come.
    """

    _due = QtSignal()

    def __init__(self, owner: QObject, slot: Callable[[], None]) -> None:
        super().__init__(owner)
        self._slot, self.is_due = slot, False
        self._due.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def start(self) -> None:
        """Call the function in the next turn; several calls in this one count as one."""
        if not self.is_due:
            self.is_due = True
            self._due.emit()

    def _call(self) -> None:
        self.is_due = False
        self._slot()


def _relay(slot: Callable[..., object]) -> Callable[..., object]:
    """Return a function that calls a method as long as its object lives.

    napari before 0.7 compares the callback that it disconnects with all others, and a method
    whose widget is deleted in C++ can no longer be compared.
    """
    method = WeakMethod(slot)

    def call(*args: object) -> object:
        bound = method()
        return None if bound is None else bound(*args)

    # Signals use `inspect` to find how many arguments a slot takes; types of functions have no
    # such attribute.
    call.__signature__ = signature(slot)  # type: ignore[attr-defined]
    return call


def abandon(runs: list[Any]) -> None:
    """Cancel runs whose listener is about to be deleted, and disconnect it."""
    for run in runs:
        run.abandon()


_KEPT: set[object] = set()


def start_worker(
    receiver: object,
    work: Callable[..., Generator[Yielded, None, Returned]],
    *arguments: object,
    yielded: Callable[[Yielded], None],
    returned: Callable[[Returned], None],
    finished: Callable[[], None],
) -> None:
    """Start a napari worker whose signals are connected to methods of `receiver`.

    The receiver is kept alive until the worker has finished: Qt delivers signals of another
    thread later, and does not own the object whose method it then calls.

    Parameters
    ----------
    receiver
        Object whose methods are called in the GUI thread; hashable.
    work, arguments
        A generator function, and its arguments, called in the worker thread.
    yielded
        Called with each value that the work yields.
    returned
        Called with the returned value, unless the worker was asked to quit.
    finished
        Called at the end in any case.
    """
    # napari's annotations allow neither functions nor slots without arguments.
    create: Callable[..., Any] = create_worker
    ended = gui_collector().thread_starts()
    worker = create(_ending(work, ended), *arguments, _start_thread=False)
    worker.yielded.connect(yielded)
    worker.returned.connect(returned)
    worker.finished.connect(finished)
    _KEPT.add(receiver)
    worker.finished.connect(partial(_release, receiver))
    # A worker that was asked to quit may not have begun its work.
    worker.finished.connect(ended)
    worker.start()


def _ending(
    work: Callable[..., Generator[Yielded, None, Returned]], ended: Callable[..., None]
) -> Callable[..., Generator[Yielded, None, Returned]]:
    """Return the work, followed by a call of `ended` in its thread."""

    def do(*arguments: object) -> Generator[Yielded, None, Returned]:
        try:
            return (yield from work(*arguments))
        finally:
            ended()

    return do


def _release(receiver: object, *_: object) -> None:
    _KEPT.discard(receiver)


def _disconnect(source: Source, relay: Callable[..., object], *_: object) -> None:
    source.disconnect(relay)
