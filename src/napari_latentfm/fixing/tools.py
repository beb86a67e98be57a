"""Mouse tools that keep or remove a piece of the annotation by a click."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import Qt

from napari_latentfm.layers.escape import EscapeKey
from napari_latentfm.layers.planes import position_of
from napari_latentfm.layers.stacking import activate

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_latentfm.results.session import ReviewSession

PieceTool = Literal["keep", "remove"]

CURSORS: dict[PieceTool, str] = {"keep": "pointing", "remove": "crosshair"}
HINTS: dict[PieceTool, str] = {
    "keep": "Click the piece to keep; other pieces of its label are removed. Esc cancels.",
    "remove": "Click each piece to remove. Esc ends the tool.",
}
CLICK_PIXELS = 4
"""A press that moves farther than this on screen moves the camera instead."""


class PieceTools:
    """One of two mouse tools, or none, on one layer.

    The layer is in napari's pan and zoom mode, so that dragging and the wheel move the camera.
    Another mode, another layer, or Escape ends the tool.

    Parameters
    ----------
    widget
        In its window Escape ends the tool, wherever the focus is.

    Attributes
    ----------
    picked
        Emitted with the tool and ``(row, column, ...)``, the pixel of the layer that was clicked.
    changed
        Emitted when a tool was activated or ended.
    """

    picked = Signal(str, tuple)
    changed = Signal()

    def __init__(self, session: ReviewSession, widget: QWidget) -> None:
        self._session = session
        self._escape = EscapeKey(widget, self.deactivate, Qt.ShortcutContext.WindowShortcut)
        # Kept, since a tool may end after its viewer.
        self._layers = session.viewer.layers
        self._layer: Labels | None = None
        self._help = ""
        self.tool: PieceTool | None = None

    @property
    def hint(self) -> str:
        """What the active tool does and how it ends; ``""`` without one."""
        return HINTS[self.tool] if self.tool else ""

    def take(self, tool: PieceTool, layer: Labels) -> None:
        """Activate a tool on a layer."""
        self.deactivate()
        activate(self._session.viewer, layer, "pan_zoom")
        self.tool, self._layer, self._help = tool, layer, layer.help
        layer.cursor = CURSORS[tool]
        layer.help = HINTS[tool]
        layer.mouse_drag_callbacks.append(self._on_press)
        self._escape.bind(layer)
        layer.events.mode.connect(self.deactivate)
        self._layers.selection.events.active.connect(self._on_active)
        self.changed.emit()

    def deactivate(self, _event: Any = None) -> None:
        """End the tool and restore the mode of the layer."""
        layer, self._layer, self.tool = self._layer, None, None
        if layer is None:
            return
        layer.events.mode.disconnect(self.deactivate)
        self._layers.selection.events.active.disconnect(self._on_active)
        if self._on_press in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_press)
        self._escape.release()
        if layer.mode == "pan_zoom":
            layer.cursor, layer.help = "standard", self._help
        self.changed.emit()

    def _on_active(self, _event: Any = None) -> None:
        if self._layers.selection.active is not self._layer:
            self.deactivate()

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
