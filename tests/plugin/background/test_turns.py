"""Work in steps keeps the window responsive, and can be undone."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest
from qtpy.QtCore import QTimer

from napari_latentfm.background import turns
from napari_latentfm.background.turns import TURN_SECONDS, Turns


def steps(log: list[str], count: int = 3, seconds: float = 0) -> Generator[None, None, str]:
    try:
        for number in range(count):
            log.append(f"step {number}")
            time.sleep(seconds)
            yield
    except GeneratorExit:
        log.append("taken back")
        raise
    return "made"


def test_the_window_responds_between_the_steps(qtbot: Any) -> None:
    log: list[str] = []
    found: list[Any] = []
    Turns(steps(log, seconds=TURN_SECONDS), found.append, found.append)
    timer = QTimer()
    timer.timeout.connect(lambda: log.append("answer"))
    timer.start(0)
    assert log == [], "nothing happens before control returns to the window"
    qtbot.waitUntil(lambda: bool(found))
    timer.stop()
    assert found == ["made"]
    first, last = log.index("step 0"), log.index("step 2")
    assert "answer" in log[first:last]


def test_quick_steps_share_an_event_loop_turn(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may interrupt the steps for longer than a usual turn.
    monkeypatch.setattr(turns, "TURN_SECONDS", 60.0)
    log: list[str] = []
    found: list[Any] = []
    Turns(steps(log), found.append, found.append)
    timer = QTimer()
    timer.timeout.connect(lambda: log.append("answer"))
    timer.start(0)
    qtbot.waitUntil(lambda: bool(found))
    timer.stop()
    assert log.index("step 2") == log.index("step 0") + 2


def test_cancelling_undoes_the_work_and_reports_once(qtbot: Any) -> None:
    log: list[str] = []
    found: list[Any] = []
    work = Turns(steps(log, 10_000, TURN_SECONDS / 8), found.append, found.append)
    qtbot.waitUntil(lambda: "step 2" in log)
    work.cancel()
    work.cancel()
    qtbot.waitUntil(lambda: bool(found))
    qtbot.wait(20)
    assert found == [None]
    assert log[-1] == "taken back"


def test_an_error_goes_to_the_caller(qtbot: Any) -> None:
    def broken() -> Generator[None, None, None]:
        yield
        raise OSError("no")

    made: list[Any] = []
    failed: list[Exception] = []
    Turns(broken(), made.append, failed.append)
    qtbot.waitUntil(lambda: bool(failed))
    assert isinstance(failed[0], OSError)
    assert made == []


def test_nothing_is_reported_after_abandon(qtbot: Any) -> None:
    log: list[str] = []
    found: list[Any] = []
    Turns(steps(log, 10_000, TURN_SECONDS / 8), found.append, found.append).abandon()
    qtbot.waitUntil(lambda: "taken back" in log or not log)
    qtbot.wait(20)
    assert found == []
    assert not log or log[-1] == "taken back"
