"""Threads that read files and do not delay exit after Ctrl+C."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.2

_END_SECONDS = 1.0
"""Time that files being decoded have to finish after an error or Ctrl+C."""


def in_threads(work: Callable[[int], T], count: int, threads: int) -> Generator[T, None, None]:
    """Yield ``work(0)``, ``work(1)``, ... in this order, computed in several threads.

    Unlike those of a `ThreadPoolExecutor`, the threads hardly delay the end of the process: after
    an error or Ctrl+C, a large file still being decoded is abandoned. Small ones are finished,
    because PyTorch aborts the process if a thread is within it when Python ends.

    Parameters
    ----------
    work
        Called with a number from 0 to `count` - 1.

    Raises
    ------
    Exception
        Any exception of `work`.
    """
    numbers, stopped = itertools.count(), threading.Event()
    done: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        for number in numbers:
            if number >= count or stopped.is_set():
                return
            try:
                done.put((number, work(number), None))
            except BaseException as error:
                done.put((number, None, error))
                return

    started = [
        threading.Thread(target=run, daemon=True, name="latentfm-reading")
        for _ in range(min(threads, count))
    ]
    waiting: dict[int, T] = {}
    try:
        for thread in started:
            thread.start()
        for number in range(count):
            while number not in waiting:
                try:
                    found, value, error = done.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue  # signals are handled between two polls
                if error is not None:
                    raise error
                waiting[found] = value  # type: ignore[assignment]  # None where T allows it
            yield waiting.pop(number)
    finally:
        stopped.set()
        end = time.monotonic() + _END_SECONDS
        for thread in (each for each in started if each.is_alive()):
            thread.join(max(0.0, end - time.monotonic()))
