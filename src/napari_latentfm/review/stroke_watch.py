"""Report strokes on a plane when the user pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_latentfm.annotation.layer import STROKE_EVENTS
from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.layers.annotation_record import PlaneIndex
from napari_latentfm.layers.edits import checksum
from napari_latentfm.layers.planes import index_slices

PAUSE_MS = 400
"""Milliseconds between the last stroke and `StrokeWatch.paused`."""


class StrokeWatch(QObject):
    """Follows the strokes of one plane of a layer at a time.

    Only that plane is checked: comparing a whole stack would block the window. Strokes that
    were left on another plane are noticed once it is followed again.

    Attributes
    ----------
    paused
        Emitted in a pause after pixels of the plane have changed.
    """

    paused = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.enabled = True
        self.timer = pause_timer(self, PAUSE_MS, self._on_pause)
        self._layer: Labels | None = None
        self._plane: PlaneIndex = ()
        self._seen: dict[PlaneIndex, str] = {}
        self._endings: list[Callable[[], None]] = []

    def follow(self, layer: Labels | None, plane: PlaneIndex = ()) -> None:
        """Follow a plane of a layer, from its pixels when it was followed first, or none."""
        if layer is not self._layer:
            for end in self._endings:
                end()
            self._layer, self._endings = layer, []
            self._seen.clear()
            if layer is not None:
                emitters = (layer.events.emitters[name] for name in STROKE_EVENTS)
                self._endings = [listen(self, each, self._on_painted) for each in emitters]
        self._plane = plane
        if layer is not None and plane not in self._seen:
            self._seen[plane] = self._checksum(layer)

    def repeat(self) -> None:
        """Emit `paused` again after another pause, though nothing was painted."""
        self._seen[self._plane] = ""
        self.timer.start()

    def _on_painted(self, _event: Any = None) -> None:
        # Undo and redo emit only ``set_data``, as does every move of a slider: after the pause, the
        # plane is compared.
        if self.enabled and self._layer is not None:
            self.timer.start()

    def _on_pause(self) -> None:
        if self._layer is None:
            return
        before, now = self._seen.get(self._plane), self._checksum(self._layer)
        self._seen[self._plane] = now
        if now != before:
            self.paused.emit()

    def _checksum(self, layer: Labels) -> str:
        return checksum(layer.data[index_slices(self._plane)])
