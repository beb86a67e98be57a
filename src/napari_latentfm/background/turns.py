"""GUI-thread work in steps, between which the window stays responsive."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from time import perf_counter
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QTimer

Returned = TypeVar("Returned")

TURN_SECONDS = 0.08
"""Time after which a turn starts no further step. Each turn may repaint the whole window."""


class Turns(Generic[Returned]):
    """Runs the steps of a generator in turns of the event loop, as many as fit into a short time.

    Parameters
    ----------
    steps
        The work; yielded values are ignored, and closing the generator undoes the work.
    done
        Called at the end with the returned value, or with None after `cancel`.
    failed
        Called instead with the error of the work.
    """

    def __init__(
        self,
        steps: Generator[Any, None, Returned],
        done: Callable[[Returned | None], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._steps: Generator[Any, None, Returned] | None = steps
        self._done: Callable[[Returned | None], None] | None = done
        self._failed: Callable[[Exception], None] | None = failed
        self._cancelled = False
        self._next()

    def cancel(self) -> None:
        """Undo the work in the next turn.

        Not at once: the list of layers may just be removing one, or a step may be asking the
        user.
        """
        self._cancelled = True

    def abandon(self) -> None:
        """Cancel without calling `done` or `failed`; for a listener that is about to be deleted."""
        self._done = self._failed = None
        self.cancel()

    def _next(self) -> None:
        QTimer.singleShot(0, self._step)

    def _step(self) -> None:
        steps = self._steps
        if steps is None:
            return
        report: Callable[[], None] | None = None
        try:
            end_of_turn = perf_counter() + TURN_SECONDS
            while not self._cancelled:
                next(steps)
                if perf_counter() >= end_of_turn:
                    break
            if self._cancelled:
                steps.close()
                report = partial(self._finish, None)
        except StopIteration as end:
            report = partial(self._finish, end.value)
        except Exception as error:
            report = partial(self._fail, error)
        if report is None:
            self._next()
        else:
            self._steps = None
            report()
            self._done = self._failed = None

    def _finish(self, value: Returned | None) -> None:
        if self._done is not None:
            self._done(value)

    def _fail(self, error: Exception) -> None:
        if self._failed is not None:
            self._failed(error)
