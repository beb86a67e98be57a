"""Mouse tools on the annotation: a click keeps or removes a piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_latentfm.layers.planes import position_of

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession

PieceTool = Literal["keep", "remove"]

CURSORS: dict[PieceTool, str] = {"keep": "pointing", "remove": "crosshair"}
HINTS: dict[PieceTool, str] = {
    "keep": "Click the piece to keep; the others of its label go. Esc ends this.",
    "remove": "Click each piece to remove. Esc ends this.",
}
CLICK_PIXELS = 4
"""A press that moves farther on screen before its release moves the camera."""


class PieceTools:
    """One of two mouse tools, or none, on one layer.

    The layer is in napari's pan and zoom mode meanwhile, so that dragging and the wheel move the
    camera. Another mode or another layer ends the tool, and so does Escape.

    Attributes
    ----------
    picked
        Emitted with the tool and ``(row, column, ...)``, the pixel of the layer that was clicked.
    changed
        Emitted when a tool was taken or put away.
    """

    picked = Signal(str, tuple)
    changed = Signal()

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._layer: Labels | None = None
        self._help = ""
        self.tool: PieceTool | None = None

    def take(self, tool: PieceTool, layer: Labels) -> None:
        """Take a tool in hand on a layer."""
        self.put_away()
        self._session.viewer.layers.selection.active = layer
        layer.visible = True
        layer.mode = "pan_zoom"
        self.tool, self._layer, self._help = tool, layer, layer.help
        layer.cursor = CURSORS[tool]
        layer.help = HINTS[tool]
        layer.mouse_drag_callbacks.append(self._on_press)
        # napari's own Escape is for its polygon, which this mode does not draw.
        layer.bind_key("Escape", self._on_escape, overwrite=True)
        layer.events.mode.connect(self.put_away)
        self._session.viewer.layers.selection.events.active.connect(self._on_active)
        self.changed.emit()

    def put_away(self, _event: Any = None) -> None:
        """Put the tool away; the layer is as it was before."""
        layer, self._layer, self.tool = self._layer, None, None
        if layer is None:
            return
        layer.events.mode.disconnect(self.put_away)
        self._session.viewer.layers.selection.events.active.disconnect(self._on_active)
        if self._on_press in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_press)
        layer.bind_key("Escape", None)
        if layer.mode == "pan_zoom":
            layer.cursor, layer.help = "standard", self._help
        self.changed.emit()

    def _on_escape(self, _layer: Labels) -> None:
        self.put_away()

    def _on_active(self, _event: Any = None) -> None:
        if self._session.viewer.layers.selection.active is not self._layer:
            self.put_away()

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:
        if event.button != 1 or event.modifiers:
            return
        start, far = np.asarray(event.pos, float), 0.0
        yield
        while event.type == "mouse_move":
            far = max(far, float(np.hypot(*(np.asarray(event.pos, float) - start))))
            yield
        if far <= CLICK_PIXELS and self.tool is not None:
            at = position_of(layer, self._session.viewer.dims, event.position)
            self.picked.emit(self.tool, at)
