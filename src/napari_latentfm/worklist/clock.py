"""Working time, from mouse and key events of the window."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from napari_latentfm.layers.annotation_record import PAUSE

_ACTIVITY = {
    QEvent.Type.MouseMove,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.KeyPress,
    QEvent.Type.Wheel,
    QEvent.Type.TabletMove,
}


class Clock(QObject):
    """Measures working time; pauses of more than `PAUSE` seconds do not count."""

    def __init__(self) -> None:
        super().__init__()
        self._window: Any = None
        self._last: float | None = None
        self._seconds = 0.0

    def watch_around(self, widget: QWidget) -> None:
        """Count mouse and key events of the main window around a widget as work."""
        top = widget
        while (parent := top.parentWidget()) is not None:
            top = parent
        window = top.windowHandle()
        if window is not None and window is not self._window:
            self._window = window
            window.installEventFilter(self)

    def start(self) -> None:
        """Start measuring."""
        self._seconds, self._last = 0.0, time.monotonic()

    def touch(self, now: float) -> None:
        """Record an event at `now`, in seconds of a monotonic clock."""
        if self._last is not None:
            gap = now - self._last
            self._seconds += gap if 0 <= gap <= PAUSE else 0.0
            self._last = now

    def take(self) -> float:
        """Return the seconds of work since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def stop(self) -> None:
        """Stop measuring."""
        self._last = None

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Record events without consuming them."""
        if event.type() in _ACTIVITY:
            self.touch(time.monotonic())
        return False
