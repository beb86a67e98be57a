"""Move the keyboard focus to the image when the focused control of the dock is disabled."""

from __future__ import annotations

from typing import cast

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QMainWindow, QWidget

from napari_latentfm.ui.common import on_click


class CanvasFocus(QObject):
    """Moves the keyboard focus to the canvas when the focused control is disabled.

    Qt would move it to the next control of the dock, which the space bar would then press.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._panel = panel
        cast("QApplication", QApplication.instance()).focusChanged.connect(self._on_moved)

    def take(self) -> None:
        """Move the keyboard focus to the image, where Enter accepts it."""
        window = self._panel.window()
        middle = window.centralWidget() if isinstance(window, QMainWindow) else None
        for widget in [] if middle is None else middle.findChildren(QWidget):
            if widget.inherits("QOpenGLWidget"):
                widget.setFocus()
                return

    def take_after_click(self, button: QAbstractButton) -> None:
        """Take the keyboard when the mouse clicks a button, but not when a key presses it."""
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        on_click(button, lambda: None if button.hasFocus() else self.take())

    def _on_moved(self, old: QWidget | None, new: QWidget | None) -> None:
        panel = self._panel
        if old is None or old.isEnabled() or not panel.isVisible() or not panel.isAncestorOf(old):
            return
        if new is None or panel.isAncestorOf(new):
            self.take()
