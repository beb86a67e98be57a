"""Run OpenGL commands outside painting in the context of the canvas.

When layers are removed, napari 0.9 lets vispy delete their textures, buffers and programs at once,
in whichever OpenGL context is current. Outside `paintGL` that is often the context in which Qt
composes the window. Under Mesa's software renderer, one of the next frames of the canvas then ends
the process with a segmentation fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_latentfm.background.signals import listen

if TYPE_CHECKING:
    import napari

CLEANUP_EVENTS = ("removing", "end_batch")
"""Events of a layer list right before the canvas deletes what a layer was drawn with."""


class CanvasContext(QObject):
    """Makes the OpenGL context of a viewer's canvas current before layers are removed.

    Parameters
    ----------
    window
        The main window with the canvas; owns this object.
    """

    def __init__(self, viewer: napari.viewer.Viewer, window: QMainWindow) -> None:
        super().__init__(window)
        self._window = window
        emitters = viewer.layers.events.emitters
        for name in CLEANUP_EVENTS:
            # napari calls the latest listener first: this one runs before the canvas's own.
            if name in emitters:  # `end_batch` came with napari 0.9
                listen(self, emitters[name], self.make_current)

    def make_current(self, _event: Any = None) -> None:
        """Make the context of the canvas current."""
        middle = self._window.centralWidget()
        # A QOpenGLWidget is in a separate module, which differs between the Qt bindings.
        widgets: list[Any] = [] if middle is None else middle.findChildren(QWidget)
        for widget in widgets:
            if widget.inherits("QOpenGLWidget") and widget.isValid():
                widget.makeCurrent()


def protect_canvas(viewer: napari.viewer.Viewer, window: QWidget) -> None:
    """Set up a `CanvasContext` for a window that has none yet."""
    if isinstance(window, QMainWindow) and window.findChild(CanvasContext) is None:
        CanvasContext(viewer, window)
