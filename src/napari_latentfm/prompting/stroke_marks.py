"""Strokes of the current object, painted in the stroke layer of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_latentfm.annotation.layer import STROKE_EVENTS
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.layers.strokes import add_strokes, strokes_of, take_brush

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.sampling.plane import Place


class StrokeMarks(QObject):
    """Writes strokes into their layer, and reports those that the user paints.

    Attributes
    ----------
    painted
        Emitted after every event of the layer that may be a stroke.
    """

    painted = Signal()

    def __init__(self, context: PromptContext, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = context.viewer
        self._layer: Labels | None = None
        self._ends: list[Callable[[], None]] = []

    def take_brush(self, place: Place, label: int) -> None:
        """Select the brush for a label of strokes."""
        take_brush(self._viewer, self._layer_at(place), label)

    def read(self, place: Place) -> NDArray[np.uint8] | None:
        """Return the strokes of a plane, None without any."""
        layer = strokes_of(self._viewer, place.layer)
        if layer is None:
            return None
        painted = np.asarray(layer.data[plane_index(place.plane)])
        return painted.astype(np.uint8) if painted.any() else None

    def follows(self, image: Image) -> bool:
        """Return whether the events of the strokes on this image are reported."""
        return self._layer is not None and self._layer == strokes_of(self._viewer, image)

    def put(self, place: Place, strokes: NDArray[np.uint8] | None) -> None:
        """Replace the strokes of a plane, as one undo step."""
        layer = strokes_of(self._viewer, place.layer)
        if layer is None and strokes is not None:
            layer = self._layer_at(place)
        if layer is None:
            return
        plane = place.plane
        window = tuple(
            slice(0, side) if at is None else slice(at, at + 1)
            for at, side in zip(plane.index, plane.layer_shape, strict=True)
        )
        wanted = plane.embed(np.zeros(plane.shape, np.uint8) if strokes is None else strokes)
        paint_where(layer, window, wanted != layer.data[window], wanted)

    def follow(self, layer: Labels | None) -> None:
        """Listen to a layer of strokes, and to no other."""
        if layer == self._layer:
            return
        for end in self._ends:
            end()
        self._layer, self._ends = layer, []
        if layer is not None:
            emitters = layer.events.emitters
            self._ends = [listen(self, emitters[name], self._on_event) for name in STROKE_EVENTS]

    def forget(self, layer: Layer) -> None:
        """Stop following a layer that was removed."""
        if layer == self._layer:
            self.follow(None)

    def _layer_at(self, place: Place) -> Labels:
        found = strokes_of(self._viewer, place.layer)
        if found is None:
            with keeping_active(self._viewer):
                found = add_strokes(self._viewer, place.layer, place.plane)
        self.follow(found)
        return found

    def _on_event(self, _event: Any = None) -> None:
        self.painted.emit()
