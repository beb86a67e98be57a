"""Tasks in a worker thread, one after the other."""

from __future__ import annotations

from typing import Any

from napari_latentfm.background.task_queue import TaskQueue
from tests.helpers.plugin_fixtures import PATIENCE


def test_an_error_of_a_listener_does_not_hold_up_the_next_task(qtbot: Any) -> None:
    queue, results = TaskQueue(), list[Any]()

    def fail(_result: Any) -> None:
        raise ValueError("the listener")

    with qtbot.capture_exceptions() as raised:
        queue.submit(lambda: 1, fail)
        queue.submit(lambda: 2, results.append)
        qtbot.waitUntil(lambda: bool(results), timeout=PATIENCE)
    assert results == [2]
    assert len(raised) == 1


def test_a_task_without_memory_says_so(qtbot: Any) -> None:
    queue, results = TaskQueue(), list[Any]()

    def exhaust() -> None:
        raise MemoryError

    queue.submit(exhaust, results.append)
    qtbot.waitUntil(lambda: bool(results), timeout=PATIENCE)
    assert "Not enough memory" in str(results[0])
