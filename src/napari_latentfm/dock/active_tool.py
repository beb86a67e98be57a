"""The active tool that marks an object, and Escape, which ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points, Shapes
from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

from latentfm_core.correction.strokes import BACKGROUND
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.annotation_record import Record
from napari_latentfm.layers.escape import EscapeKey
from napari_latentfm.layers.stacking import PROMPT_KEY, REGION_KEY, STROKES_KEY
from napari_latentfm.prompting.mark_data import SIGN

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

PAN_ZOOM = "pan_zoom"
LEAVE = "Esc ends the tool."
BOX = f"Box is active: drag a box around an object. {LEAVE}"
POINT = f"Point + is active: click in the object. {LEAVE}"
NOT_POINT = f"Point - is active: click outside the object. {LEAVE}"
STROKE = f"Stroke + is active: paint over pixels in the object. {LEAVE}"
NOT_STROKE = f"Stroke - is active: paint over pixels outside the object. {LEAVE}"
POLYGON = f"Polygon is active: click its corners; Enter finishes it. {LEAVE}"
REGION = f"Draw region is active. Enter finishes a polygon. {LEAVE}"


class ActiveTool(QObject):
    """Follows the active layer and its mode.

    Parameters
    ----------
    panel
        Owns this object; Escape works while the focus is in it, too.

    Attributes
    ----------
    changed
        Emitted with what the active tool does, ``""`` without a tool.
    """

    changed = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer, panel: QWidget) -> None:
        super().__init__(panel)
        self._viewer = viewer
        self._layer: Layer | None = None
        self._text = ""
        self._escape = EscapeKey(panel, self.leave)
        listen(self, viewer.layers.selection.events.active, self._on_active)
        self._on_active()

    def leave(self) -> None:
        """Return to moving and zooming the image."""
        layer = self._layer
        if layer is not None and self._text:
            if isinstance(layer, Labels) and layer.mode == "polygon":
                # The corners would come back with the tool.
                getattr(layer, "__wrapped__", layer)._overlays["polygon"].points = []
            layer.mode = PAN_ZOOM

    def release(self) -> None:
        """Release the key; the tool stays active."""
        if self._layer is not None:
            for event in _events(self._layer):
                event.disconnect(self._look)
        self._escape.release()
        self._layer = None
        self._show("")

    def bind(self) -> None:
        """Follow the active layer again."""
        self._on_active()

    def _on_active(self, _event: Any = None) -> None:
        self.release()
        layer = self._viewer.layers.selection.active
        if layer is None or not isinstance(layer, Labels | Points | Shapes):
            return
        self._layer = layer
        for event in _events(layer):
            event.connect(self._look)
        self._look()

    def _look(self, _event: Any = None) -> None:
        layer = self._layer
        if layer is None:
            return
        text = tool_of(layer)
        self._escape.release()
        if text:
            self._escape.bind(layer)
        self._show(text)

    def _show(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self.changed.emit(text)


def tool_of(layer: Layer) -> str:
    """Return what the selected tool of a layer of this plugin does, ``""`` without one."""
    mode, kinds = str(layer.mode), layer.metadata
    if PROMPT_KEY in kinds and mode == "add_rectangle":
        return BOX
    if isinstance(layer, Points) and PROMPT_KEY in kinds and mode == "add":
        return POINT if bool(np.all(layer.feature_defaults[SIGN])) else NOT_POINT
    if isinstance(layer, Labels) and STROKES_KEY in kinds and mode == "paint":
        return NOT_STROKE if layer.selected_label == BACKGROUND else STROKE
    if isinstance(layer, Labels) and Record.is_in(layer) and mode == "polygon":
        return POLYGON
    return REGION if REGION_KEY in kinds and mode.startswith("add_") else ""


def _events(layer: Layer) -> list[Any]:
    """Return the events of a layer after which another tool may be active."""
    found = [layer.events.mode]
    for name in ("selected_label", "current_symbol"):
        if name in layer.events.emitters:
            found.append(layer.events.emitters[name])
    return found
