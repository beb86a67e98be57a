"""Work in progress in a viewer, so that one button cancels all of it."""

from __future__ import annotations

from collections.abc import Callable

from psygnal import Signal


class RunningWork:
    """Work in progress, as the functions that cancel it."""

    changed = Signal()

    def __init__(self) -> None:
        self._cancels: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        """Whether anything runs that can be cancelled."""
        return bool(self._cancels)

    def set_running(self, cancel: Callable[[], None], running: bool) -> None:
        """Record whether the work that `cancel` ends is running."""
        if running != (cancel in self._cancels):
            (self._cancels.append if running else self._cancels.remove)(cancel)
            self.changed.emit()

    def cancel(self) -> None:
        """Cancel all of it."""
        for cancel in tuple(self._cancels):
            cancel()
