"""Run prompts one at a time; the newest request replaces the one that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_latentfm.background.signals import listen

if TYPE_CHECKING:
    from napari_latentfm.sampling.panel import SamplingPanel

POLL_MS = 15
"""Milliseconds between checks whether another run has ended."""


class PromptRunner(QObject):
    """Starts runs through the sampling panel.

    A newer request replaces one that waits, and cancels a run that was started here. It waits
    for a run that was started elsewhere.
    """

    def __init__(self, panel: SamplingPanel, parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._next: Callable[[], None] | None = None
        self._own = False
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._go_on)
        listen(self, panel.finished, self._on_finished)

    @property
    def running(self) -> bool:
        """Whether a run that was started here has not ended."""
        return self._own and self._panel.running

    @property
    def waiting(self) -> bool:
        """Whether a request waits for another run."""
        return self._next is not None

    @property
    def busy(self) -> bool:
        """Whether a run is in progress or waits."""
        return self.running or self.waiting

    def want(self, start: Callable[[], None]) -> None:
        """Call `start`, which may start a run of the panel, as soon as that is possible."""
        self._next = start
        self._go_on()

    def cancel(self) -> None:
        """Discard the waiting request, and cancel the run that was started here."""
        self._next = None
        self._timer.stop()
        if self.running:
            self._panel.cancel()

    def _go_on(self) -> None:
        start = self._next
        if start is None:
            self._timer.stop()
        elif self._panel.running or self._panel.job.busy:
            if self.running:
                self._panel.cancel()
            self._timer.start()
        else:
            self._next = None
            self._timer.stop()
            self._own = True
            start()
            self._own = self._panel.running

    def _on_finished(self, _ending: str) -> None:
        self._own = False
        if self._next is not None:
            QTimer.singleShot(0, self._go_on)
