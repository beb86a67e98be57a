"""Tasks in a worker thread, one after the other."""

from __future__ import annotations

from typing import Any

from napari_latentfm.background.task_queue import TaskQueue
from tests.helpers.plugin_fixtures import PATIENCE


def test_a_listener_error_does_not_block_the_next_task(qtbot: Any) -> None:
    queue, results = TaskQueue(), list[Any]()

    def fail(_result: Any) -> None:
        raise ValueError("the listener")

    with qtbot.capture_exceptions() as raised:
        queue.submit(lambda: 1, fail)
        queue.submit(lambda: 2, results.append)
        qtbot.waitUntil(lambda: bool(results), timeout=PATIENCE)
    assert results == [2]
    assert len(raised) == 1


def test_a_task_that_runs_out_of_memory_is_reported(qtbot: Any) -> None:
    queue, results = TaskQueue(), list[Any]()

    def exhaust() -> None:
        raise MemoryError

    queue.submit(exhaust, results.append)
    qtbot.waitUntil(lambda: bool(results), timeout=PATIENCE)
    assert "Not enough memory" in str(results[0])
