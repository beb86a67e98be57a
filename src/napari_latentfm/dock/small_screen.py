"""Place of the dock on a small screen.

napari's layer list and layer controls, one above the other, and the dock on the other side take
700 pixels of the width. On a screen of 1024 x 768 the canvas would be 310 pixels wide, and on one
of 1280 x 720 at a scale of 150 % napari would cut off the window.
"""

from __future__ import annotations

from qtpy.QtWidgets import QDockWidget, QMainWindow

LEAST_WIDTH, LEAST_HEIGHT = 1200, 640
"""Pixels of a screen on which all docks can be side by side, in Qt's units."""
LAYER_DOCKS = ("layer controls", "layer list")
"""Object names of napari's own docks."""


def fit(dock: QDockWidget) -> None:
    """Put the dock and napari's own ones behind each other, as tabs, if the screen is small."""
    window, screen = dock.window(), dock.screen()
    if not isinstance(window, QMainWindow) or screen is None or dock.isFloating():
        return
    room = screen.availableGeometry()
    if room.width() >= LEAST_WIDTH and room.height() >= LEAST_HEIGHT:
        return
    others = [window.findChild(QDockWidget, name) for name in LAYER_DOCKS]
    before: QDockWidget | None = None
    for each in (*others, dock):
        if each is None or each.isFloating():
            continue
        if before is not None:
            window.tabifyDockWidget(before, each)
        before = each
