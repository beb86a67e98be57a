"""Long work is a generator of its steps; here is how such work is followed to its end.

A generator hands control back after every step: its caller reports progress, or cancels by
closing it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

Step = TypeVar("Step")
Shown = TypeVar("Shown")
Result = TypeVar("Result")


def finish(
    steps: Generator[Step, None, Result], on_step: Callable[[Step], object] | None = None
) -> Result:
    """Do all steps and return the result; `on_step` is called after each, may raise to cancel."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            if on_step is not None:
                on_step(step)
    finally:
        steps.close()


def follow(
    steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result]:
    """Yield what `show` makes of each step, and return the result."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield show(step)
    finally:
        steps.close()


def follow_until(
    stop: threading.Event, steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result | None]:
    """Do what `follow` does until `stop` is set; the result is None then."""
    followed = follow(steps, show)
    try:
        while not stop.is_set():
            try:
                shown = next(followed)
            except StopIteration as end:
                result: Result = end.value
                return None if stop.is_set() else result
            yield shown
    finally:
        followed.close()
    return None
