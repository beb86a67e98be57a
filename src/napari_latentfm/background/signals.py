"""Who listens to whom, and for how long: widgets, signals and work in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from inspect import signature
from typing import Any, Protocol, TypeVar
from weakref import WeakMethod

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject

Told = TypeVar("Told")
Returned = TypeVar("Returned")


class Source(Protocol):
    """A signal of psygnal, or an event emitter of napari."""

    def connect(self, slot: Any, /) -> Any:
        """Call `slot` from now on."""

    def disconnect(self, slot: Any, /) -> Any:
        """Call `slot` no more, if it ever was."""


def listen(widget: QObject, source: Source, slot: Callable[..., object]) -> None:
    """Connect a method to a signal until the C++ side of `widget` is deleted.

    A window that closes deletes its panels while Python may still hold them; a signal that
    outlives the window would then call into what is gone.

    Parameters
    ----------
    widget
        Whose end ends the connection.
    source
        A signal of an object that may outlive the widget.
    slot
        A bound method, held weakly.
    """
    relay = _relay(slot)
    source.connect(relay)
    widget.destroyed.connect(partial(_leave, source, relay))


def _relay(slot: Callable[..., object]) -> Callable[..., object]:
    """Return a function that calls a method as long as its object lives.

    napari before 0.7 compares whom it lets go with all its listeners, and a method whose widget is
    gone with its C++ side can no longer be compared with anything.
    """
    method = WeakMethod(slot)

    def call(*args: object) -> object:
        bound = method()
        return None if bound is None else bound(*args)

    # Signals ask how many arguments their slots take; `inspect` finds it here, which the types of
    # functions do not tell.
    call.__signature__ = signature(slot)  # type: ignore[attr-defined]
    return call


def abandon(runs: list[Any]) -> None:
    """Cancel jobs whose listener is about to vanish, and let them tell nobody any more."""
    for run in runs:
        run.abandon()


_KEPT: set[object] = set()


def start_worker(
    receiver: object,
    work: Callable[..., Generator[Told, None, Returned]],
    *arguments: object,
    told: Callable[[Told], None],
    returned: Callable[[Returned], None],
    finished: Callable[[], None],
) -> None:
    """Start one of napari's workers, whose signals are methods of `receiver`.

    The receiver is held until the worker has finished. Qt delivers signals of another thread
    later, and then calls a method whose object it does not own: a window that closed meanwhile
    would have let go of it.

    Parameters
    ----------
    receiver
        Whose methods are called in the GUI thread; hashable.
    work, arguments
        A generator function, and what it is called with in the worker thread.
    told
        Called with each value that the work yields.
    returned
        Called with what it returns; not after a worker that was told to quit.
    finished
        Called at last, in any case.
    """
    # napari's annotations know neither functions nor slots that take no value.
    create: Callable[..., Any] = create_worker
    worker = create(work, *arguments, _start_thread=False)
    worker.yielded.connect(told)
    worker.returned.connect(returned)
    worker.finished.connect(finished)
    _KEPT.add(receiver)
    worker.finished.connect(partial(_let_go, receiver))
    worker.start()


def _let_go(receiver: object, *_: object) -> None:
    _KEPT.discard(receiver)


def _leave(source: Source, relay: Callable[..., object], *_: object) -> None:
    source.disconnect(relay)
