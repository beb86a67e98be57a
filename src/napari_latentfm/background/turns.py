"""Work that has to be done in the GUI thread, in steps between which the window answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QTimer

Found = TypeVar("Found")


class Turns(Generic[Found]):
    """Does one step of a generator in each turn of the event loop.

    Parameters
    ----------
    steps
        The work; what it yields is of no interest, and closing it takes the work back.
    done
        Called at the end with what the work returned, or with None after `cancel`.
    failed
        Called instead with the error of the work.
    """

    def __init__(
        self,
        steps: Generator[Any, None, Found],
        done: Callable[[Found | None], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._steps: Generator[Any, None, Found] | None = steps
        self._done: Callable[[Found | None], None] | None = done
        self._failed: Callable[[Exception], None] | None = failed
        self._cancelled = False
        self._next()

    def cancel(self) -> None:
        """Take the work back in the next turn.

        Not at once: the list of layers may just be removing one, or a step be asking the user.
        """
        self._cancelled = True

    def abandon(self) -> None:
        """Cancel, and tell nobody; for a listener that is about to vanish."""
        self._done = self._failed = None
        self.cancel()

    def _next(self) -> None:
        QTimer.singleShot(0, self._step)

    def _step(self) -> None:
        steps = self._steps
        if steps is None:
            return
        tell: Callable[[], None] | None = None
        try:
            if not self._cancelled:
                next(steps)
            if self._cancelled:
                steps.close()
                tell = partial(self._tell, None)
        except StopIteration as end:
            tell = partial(self._tell, end.value)
        except Exception as error:
            tell = partial(self._fail, error)
        if tell is None:
            self._next()
        else:
            self._steps = None
            tell()
            self._done = self._failed = None

    def _tell(self, found: Found | None) -> None:
        if self._done is not None:
            self._done(found)

    def _fail(self, error: Exception) -> None:
        if self._failed is not None:
            self._failed(error)
