"""Measure freezes of the GUI thread of a real window, with their stacks."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

BEAT_MS = 5
LOOK_SECONDS = 0.01
NOTED = 0.03
"""Stretches of at least this many seconds are kept with their stacks."""
QUIET = 0.5
"""Seconds added to the end of a phase, so that it includes deferred work."""
GIVE_UP = 120.0
"""Timeout of a phase in seconds."""
OURS = ("napari_latentfm", "latentfm_core")


@dataclass
class Stretch:
    """A time in which the window did not respond.

    Attributes
    ----------
    seconds, busy
        By the clock, and processor time of the GUI thread.
    looks
        Number of stack samples of the GUI thread by place.
    ours
        Number of samples with this plugin on the stack.
    """

    seconds: float = 0.0
    busy: float = 0.0
    looks: Counter[str] = field(default_factory=Counter)
    ours: int = 0

    @property
    def share(self) -> float | None:
        """Share of the stretch that had this plugin on the stack; None without samples."""
        seen = sum(self.looks.values())
        return self.ours / seen if seen else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "stretch": round(self.seconds, 3),
            "gui_busy": round(self.busy, 3),
            "ours": None if self.share is None else round(self.share, 2),
            "where": [f"{count} x {place}" for place, count in self.looks.most_common(4)],
        }


@dataclass
class Phase:
    """A user action with its duration and stretches."""

    name: str
    seconds: float = 0.0
    stretches: list[Stretch] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest stretch by the clock."""
        return max((stretch.seconds for stretch in self.stretches), default=0.0)

    @property
    def busiest(self) -> float:
        """The most processor time of the GUI thread in one stretch."""
        return max((stretch.busy for stretch in self.stretches), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        worst = max(self.stretches, key=lambda stretch: stretch.busy, default=Stretch())
        return {
            "phase": self.name,
            "longest_stretch": round(self.longest, 3),
            "gui_busy": round(self.busiest, 3),
            "ours": None if worst.share is None else round(worst.share, 2),
            "seconds": round(self.seconds, 3),
        }


class Watch:
    """Ticks in the GUI thread, and samples its stack from another thread."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.phase = Phase("before")
        self._main = threading.get_ident()
        self._open = Stretch()
        self._last, self._spent = time.perf_counter(), time.thread_time()
        self._timer = QTimer()
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self.beat)
        self._timer.start()
        self._stop = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, phase: Phase) -> None:
        """Start counting for another phase."""
        self.phase = phase
        self._open = Stretch()
        self._last, self._spent = time.perf_counter(), time.thread_time()

    def beat(self) -> None:
        """End a stretch, and begin another one."""
        now, spent = time.perf_counter(), time.thread_time()
        stretch, self._open = self._open, Stretch()
        stretch.seconds, stretch.busy = now - self._last, spent - self._spent
        if stretch.seconds >= NOTED:
            self.phase.stretches.append(stretch)
        self._last, self._spent = now, spent

    def stop(self) -> None:
        """Stop sampling."""
        self._stop.set()
        self._timer.stop()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            stretch = self._open
            if time.perf_counter() - self._last < 2 * BEAT_MS / 1000:
                continue
            frame = sys._current_frames().get(self._main)
            if frame is not None:
                place, ours = _place(frame)
                # Release the frame: painters must not outlive their paint event.
                del frame
                stretch.looks[place] += 1
                stretch.ours += ours


def _place(frame: FrameType) -> tuple[str, bool]:
    """Return the last frames of this plugin and of napari, and the innermost one."""
    last: dict[str, str] = {}
    innermost = _describe(frame)
    step: FrameType | None = frame
    while step is not None:
        package = step.f_globals.get("__name__", "").split(".")[0]
        owner = "ours" if package in OURS else package
        if owner in ("ours", "napari") and owner not in last:
            last[owner] = _describe(step)
        step = step.f_back
    names = [last[owner] for owner in ("ours", "napari") if owner in last]
    return " > ".join(dict.fromkeys([*names, innermost])), "ours" in last


def _describe(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__", "?")
    return f"{name}.{frame.f_code.co_name}:{frame.f_lineno}"


class Window:
    """A viewer, driven phase by phase.

    Parameters
    ----------
    say
        Called with each finished phase.

    Attributes
    ----------
    viewer
        The viewer, in a real window.
    phases
        The measurements.
    """

    def __init__(self, say: Callable[[Phase], object]) -> None:
        import napari
        from qtpy.QtCore import QTimer

        self._say = say

        self._until: Callable[[], bool] = bool
        self._loop: Any = None
        self._timer = QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._look)
        self.viewer = napari.Viewer(show=True)
        self.phases: list[Phase] = []
        self._watch = Watch()
        self._pump_for(QUIET)

    def phase(
        self,
        name: str,
        act: Callable[[], object] = lambda: None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """Run an action, wait until it is done and drawn, and keep its stretches."""
        phase = Phase(name)
        self._watch.begin(phase)
        start = time.perf_counter()
        act()
        self._pump(lambda: ready() or time.perf_counter() - start > GIVE_UP)
        phase.seconds = time.perf_counter() - start
        self._pump_for(QUIET)
        self._watch.begin(Phase("between"))
        self.phases.append(phase)
        self._say(phase)

    def drag(self) -> None:
        """Drag the mouse from left of the middle of the canvas."""
        from qtpy.QtCore import QPoint, Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        canvas = self.viewer.window._qt_viewer.canvas.native
        row, column = canvas.height() // 2, canvas.width() // 3
        button = Qt.MouseButton.LeftButton
        QTest.mouseMove(canvas, QPoint(column, row))
        QTest.mousePress(canvas, button, Qt.KeyboardModifier.NoModifier, QPoint(column, row))
        for step in range(1, 9):
            QTest.mouseMove(canvas, QPoint(column + 6 * step, row))
            QApplication.processEvents()
        end = QPoint(column + 48, row)
        QTest.mouseRelease(canvas, button, Qt.KeyboardModifier.NoModifier, end)

    def close(self) -> None:
        """Close the window."""
        self._watch.stop()
        self.viewer.close()

    def _pump_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        self._pump(lambda: time.perf_counter() > end)

    def _pump(self, until: Callable[[], bool]) -> None:
        from qtpy.QtCore import QEventLoop

        # End loop and timer here, not in the thread that collects their cycle.
        self._until, self._loop = until, QEventLoop()
        self._timer.start()
        self._loop.exec()
        self._timer.stop()

    def _look(self) -> None:
        if self._until():
            self._loop.quit()
