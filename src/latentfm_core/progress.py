"""Run step generators with progress and cancellation.

A generator hands control back after every step: its caller reports progress, or cancels by
closing it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Generic, TypeVar

Step = TypeVar("Step")
Shown = TypeVar("Shown")
Result = TypeVar("Result")


class _Steps(Generic[Step, Result]):
    """Iterates over the steps; `result` is set at the end."""

    result: Result

    def __init__(self, steps: Generator[Step, None, Result]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[Step]:
        self.result = yield from self._steps


def finish(
    steps: Generator[Step, None, Result], on_step: Callable[[Step], object] | None = None
) -> Result:
    """Run all steps and return the result; `on_step` is called after each, may raise to cancel."""
    every = _Steps(steps)
    with closing(steps):
        for step in every:
            if on_step is not None:
                on_step(step)
    return every.result


def follow(
    steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result]:
    """Yield what `show` makes of each step, and return the result."""
    every = _Steps(steps)
    with closing(steps):
        for step in every:
            yield show(step)
    return every.result


def follow_until(
    stop: threading.Event, steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result | None]:
    """Like `follow`, but stop when `stop` is set; the result is then None."""
    every = _Steps(steps)
    with closing(steps):
        if stop.is_set():
            return None
        for step in every:
            yield show(step)
            if stop.is_set():
                return None
    return None if stop.is_set() else every.result
