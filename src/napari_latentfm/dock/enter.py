"""Enter, which accepts unless napari or the focused widget needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app_model.types import KeyBinding
from napari.layers import Labels, Layer, Shapes
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from napari_latentfm.background.signals import listen

if TYPE_CHECKING:
    import napari

KEY = "Enter"
ENTER = KeyBinding.from_str(KEY)
USE_ENTER = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
)
"""Widgets in which Enter means something else."""

DRAGGED = ("add_rectangle", "add_ellipse", "add_line")
"""Modes of a Shapes layer in which releasing the mouse finishes a shape, not Enter."""


def is_drawing(layer: Layer) -> bool:
    """Return whether Enter finishes a drawing in a layer, such as a polygon."""
    # napari has no public state of a drawing.
    own: Any = getattr(layer, "__wrapped__", layer)
    if isinstance(layer, Labels):
        return str(layer.mode) == "polygon" and bool(own._overlays["polygon"].points)
    return isinstance(layer, Shapes) and layer.mode not in DRAGGED and bool(own._is_creating)


class CanvasEnter:
    """Calls a function at Enter, on the canvas and in widgets of the dock that do not use the key.

    napari's Labels and Shapes layers bind Enter in every mode and come before the viewer. Such a
    layer therefore gets its own binding for as long as it is active, which passes the key
    on to napari during a drawing.

    Parameters
    ----------
    panel
        The dock. Its deletion ends the connection to the viewer.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, panel: QWidget, accept: Callable[[], None]
    ) -> None:
        self._viewer, self._panel, self._accept = viewer, panel, accept
        self._layer: Layer | None = None
        self._bound = False
        listen(panel, viewer.layers.selection.events.active, self._follow)

    def bind(self) -> None:
        """Bind the key, unless it is bound to something else in this viewer."""
        if self._bound or ENTER in self._viewer.keymap:
            return
        self._viewer.bind_key(KEY, self._press_viewer)
        self._bound = True
        self._follow()

    def release(self) -> None:
        """Unbind the key."""
        if self._bound:
            self._bound = False
            if self._viewer.keymap.get(ENTER) == self._press_viewer:
                del self._viewer.keymap[ENTER]
        self._release_key()

    def _follow(self, _event: Any = None) -> None:
        self._release_key()
        layer = self._viewer.layers.selection.active
        if not self._bound or layer is None or ENTER in layer.keymap:
            return
        if _inherited(layer) is not None:
            layer.bind_key(KEY, self._press_layer)
            self._layer = layer

    def _release_key(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer.keymap.get(ENTER) == self._press_layer:
            del layer.keymap[ENTER]

    def _press_viewer(self, _viewer: Any) -> None:
        if self._may_accept():
            self._accept()

    def _may_accept(self) -> bool:
        # napari's docks hand keys that their widgets do not use on to the canvas: Enter in a line
        # of text, in a list or on a button would accept.
        focus = QApplication.focusWidget()
        if focus is None:
            return False
        # After a click on a tab or between controls the window itself has the focus.
        if focus.inherits("QOpenGLWidget") or isinstance(focus, QMainWindow):
            return True
        return self._panel.isAncestorOf(focus) and not isinstance(focus, USE_ENTER)

    def _press_layer(self, layer: Any) -> None:
        inherited = _inherited(layer)
        if inherited is not None and is_drawing(layer):
            inherited(layer)
        else:
            self._press_viewer(None)


def _inherited(layer: Layer) -> Callable[[Any], object] | None:
    """Return the action of napari for Enter in a layer of this kind."""
    # The layers of a plugin's viewer are proxies, whose type is not that of the layer.
    for kind in layer.__class__.__mro__:
        found = vars(kind).get("class_keymap", {}).get(ENTER)
        if found is not None:
            return found  # type: ignore[no-any-return]  # napari does not type its keymaps
    return None
