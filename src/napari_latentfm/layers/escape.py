"""Escape, which ends a tool on the canvas."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from app_model.types import KeyBinding
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtWidgets import QWidget

ESCAPE = KeyBinding.from_str("Escape")


class EscapeKey:
    """Calls `end` when Escape is pressed on the canvas, or in a widget as `context` says."""

    def __init__(
        self,
        widget: QWidget,
        end: Callable[[], None],
        context: Qt.ShortcutContext = Qt.ShortcutContext.WidgetWithChildrenShortcut,
    ) -> None:
        self._end = end
        self._layer: Layer | None = None
        self._shortcut = QShortcut(QKeySequence(Qt.Key.Key_Escape), widget)
        self._shortcut.setContext(context)
        self._shortcut.activated.connect(end)
        self._shortcut.setEnabled(False)

    def bind(self, layer: Layer) -> None:
        """Bind the key for a tool on a layer."""
        self.release()
        self._layer = layer
        # napari's layers bind Escape themselves.
        layer.bind_key("Escape", lambda _layer: self._end(), overwrite=True)
        self._shortcut.setEnabled(True)

    def release(self) -> None:
        """Release the key."""
        layer, self._layer = self._layer, None
        if layer is None:
            return
        layer.keymap.pop(ESCAPE, None)
        with suppress(RuntimeError):  # the widget may be deleted already
            self._shortcut.setEnabled(False)
