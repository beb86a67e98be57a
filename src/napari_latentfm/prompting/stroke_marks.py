"""Strokes of the current object, painted in the stroke layer of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.layers.strokes import add_strokes, strokes_of, take_brush

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.sampling.plane import Place

STROKE_EVENTS = ("paint", "labels_update", "set_data", "data")


class StrokeMarks(QObject):
    """Writes strokes into their layer, and reports those that the user paints.

    Parameters
    ----------
    context
        Of the section.
    painted
        Called after every event of the layer that may be a stroke.
    parent
        Owns this object.
    """

    def __init__(
        self, context: PromptContext, painted: Callable[[], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._context, self._painted = context, painted
        self._viewer = context.viewer
        self._layer: Labels | None = None
        self._is_writing = False

    def take_brush(self, place: Place, label: int) -> None:
        """Select the brush for a label of strokes."""
        take_brush(self._viewer, self._layer_at(place), label)

    def read(self, place: Place) -> NDArray[np.uint8] | None:
        """Return the strokes of a plane, None without any."""
        if self._layer is None:
            return None
        painted = np.asarray(self._layer.data[plane_index(place.plane)])
        return painted.astype(np.uint8) if painted.any() else None

    @property
    def is_readable(self) -> bool:
        """Whether there is a layer with strokes of the user's."""
        return self._layer is not None and not self._is_writing

    def put(self, place: Place, strokes: NDArray[np.uint8] | None) -> None:
        """Replace the strokes of a plane, as one undo step."""
        layer = strokes_of(self._viewer, place.layer)
        if layer is None and strokes is not None:
            layer = self._layer_at(place)
        if layer is None:
            return
        wanted = layer.data.copy()
        wanted[plane_index(place.plane)] = 0 if strokes is None else strokes
        changed = np.nonzero(wanted != layer.data)
        if changed[0].size:
            self._is_writing = True
            try:
                with layer.block_history():
                    layer.data_setitem(changed, wanted[changed])
            finally:
                self._is_writing = False

    def follow(self, layer: Labels | None) -> None:
        """Listen to a layer of strokes, and to no other."""
        if layer == self._layer:
            return
        if self._layer is not None:
            for name in STROKE_EVENTS:
                self._layer.events.emitters[name].disconnect(self._on_event)
        self._layer = layer
        if layer is not None:
            for name in STROKE_EVENTS:
                listen(self, layer.events.emitters[name], self._on_event)

    def forget(self, layer: Layer) -> None:
        """Stop following a layer that was removed."""
        if layer == self._layer:
            self._layer = None

    def _layer_at(self, place: Place) -> Labels:
        found = strokes_of(self._viewer, place.layer)
        if found is None:
            with keeping_active(self._viewer):
                found = add_strokes(self._viewer, place.layer, place.plane)
        self.follow(found)
        return found

    def _on_event(self, _event: Any = None) -> None:
        self._painted()
