"""Report strokes on a layer when the user pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_latentfm.annotation.layer import STROKE_EVENTS
from napari_latentfm.background.signals import listen, pause_timer

PAUSE_MS = 400
"""Milliseconds between the last stroke and `StrokeWatch.paused`."""


class StrokeWatch(QObject):
    """Follows the strokes of one layer at a time.

    Attributes
    ----------
    paused
        Emitted in a pause after pixels of the layer have changed.
    enabled
        Whether strokes are noticed.
    """

    paused = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.enabled = True
        self.timer = pause_timer(self, PAUSE_MS, self._on_pause)
        self._layer: Labels | None = None
        self._painted: NDArray[Any] | None = None
        self._endings: list[Callable[[], None]] = []

    def follow(self, layer: Labels | None) -> None:
        """Follow a layer from its present pixels, or none."""
        if layer is self._layer:
            return
        for end in self._endings:
            end()
        self._layer, self._endings = layer, []
        if layer is not None:
            self._painted = layer.data.copy()
            emitters = (layer.events.emitters[name] for name in STROKE_EVENTS)
            self._endings = [listen(self, each, self._on_painted) for each in emitters]

    def repeat(self) -> None:
        """Emit `paused` again after another pause, though nothing was painted."""
        self._painted = None
        self.timer.start()

    def _on_painted(self, _event: Any = None) -> None:
        # Undo and redo emit only ``set_data``, as does every move of a slider: after the pause, the
        # data are compared.
        if self.enabled and self._layer is not None:
            self.timer.start()

    def _on_pause(self) -> None:
        if self._layer is None:
            return
        painted = self._layer.data
        if self._painted is None or not np.array_equal(painted, self._painted):
            self._painted = painted.copy()
            self.paused.emit()
