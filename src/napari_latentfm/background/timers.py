"""Timers that run once after a pause."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer


def pause_timer(owner: QObject, pause: int, slot: Callable[[], None]) -> QTimer:
    """Return a timer that calls `slot` once, `pause` ms after its last start.

    It ends with its owner.
    """
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(pause)
    timer.timeout.connect(slot)
    return timer
