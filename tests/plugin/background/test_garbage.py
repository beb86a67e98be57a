"""Garbage that may hold timers of Qt is not collected in the plugin's threads."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from napari_latentfm.background.garbage import gui_collector
from napari_latentfm.background.signals import start_worker
from napari_latentfm.background.thread_task import ThreadTask
from tests.helpers.plugin_fixtures import PATIENCE

COUNT = 200_000
"""Number of allocations after which Python has certainly collected all generations."""


@pytest.fixture(autouse=True)
def _no_other_threads(qapp: Any) -> None:
    """Ignore threads of other tests, which may wait forever."""
    gui_collector().resume()
    gc.enable()


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def leave(found: list[threading.Thread]) -> None:
    weakref.finalize(Cycle(), lambda: found.append(threading.current_thread()))


def allocate() -> Iterator[int]:
    yield len([[number] for number in range(COUNT)])


def by_task(ended: Callable[..., None]) -> object:
    task = ThreadTask(allocate)
    task.ended.connect(ended)
    task.start()
    return task


def by_worker(ended: Callable[..., None]) -> object:
    def ignore(*_: object) -> None:
        pass

    return start_worker(ended, allocate, yielded=ignore, returned=ignore, finished=ended)


@pytest.mark.parametrize("start", [by_task, by_worker])
def test_garbage_is_collected_in_the_gui_thread(qtbot: Any, start: Callable[..., object]) -> None:
    found: list[threading.Thread] = []
    endings: list[bool] = []
    leave(found)
    kept = start(lambda *_: endings.append(gc.isenabled()))
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    qtbot.waitUntil(gc.isenabled, timeout=PATIENCE)
    del kept
    gc.collect()
    assert found == [threading.main_thread()]


def test_deleting_a_running_task_turns_collection_back_on(qtbot: Any) -> None:
    gate = threading.Event()

    def work() -> Iterator[None]:
        gate.wait(PATIENCE / 1000)
        return iter(())

    task = ThreadTask(work)
    task.start()
    assert not gc.isenabled()
    task.deleteLater()
    qtbot.wait(20)
    gate.set()
    qtbot.waitUntil(gc.isenabled, timeout=PATIENCE)


def test_garbage_does_not_accumulate_while_a_thread_runs(qtbot: Any) -> None:
    found: list[threading.Thread] = []
    gate = threading.Event()

    def work() -> Iterator[None]:
        gate.wait(PATIENCE / 1000)
        return iter(())

    ended: list[bool] = []
    task = ThreadTask(work)
    task.ended.connect(lambda: ended.append(True))
    task.start()
    leave(found)
    young = [[number] for number in range(COUNT)]
    qtbot.waitUntil(lambda: bool(found), timeout=PATIENCE)
    assert found == [threading.main_thread()]
    assert not ended
    gate.set()
    qtbot.waitUntil(lambda: bool(ended), timeout=PATIENCE)
    assert len(young) == COUNT
