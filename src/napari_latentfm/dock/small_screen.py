"""Place of the dock on a small screen.

napari's layer list and layer controls, one above the other, and the dock on the other side take
700 pixels of the width. On a screen of 1024 x 768 the canvas would be 310 pixels wide, and on one
of 1280 x 720 at a scale of 150 % napari would cut off the window.
"""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_latentfm import preferences
from napari_latentfm.dock.annotate_tab import SECTION, remember

LEAST_WIDTH, LEAST_HEIGHT = 1200, 640
"""Pixels of a screen on which all docks can be side by side, in Qt's units."""
LAYER_DOCKS = ("layer controls", "layer list")
"""Object names of napari's own docks."""


def fit(dock: QDockWidget) -> None:
    """Put the dock and napari's own ones behind each other, as tabs, if the screen is small.

    napari remembers the place for the next session, which may have a larger screen. There, the
    dock goes back to the right.
    """
    window, screen = dock.window(), dock.screen()
    if not isinstance(window, QMainWindow) or screen is None or dock.isFloating():
        return
    room = screen.availableGeometry()
    was_small = preferences.get(SECTION).get("small_screen") is True
    is_small = room.width() < LEAST_WIDTH or room.height() < LEAST_HEIGHT
    if is_small != was_small:
        remember(small_screen=is_small)
    if not is_small:
        if was_small:
            window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        return
    others = [window.findChild(QDockWidget, name) for name in LAYER_DOCKS]
    before: QDockWidget | None = None
    for each in (*others, dock):
        if each is None or each.isFloating():
            continue
        if before is not None:
            window.tabifyDockWidget(before, each)
        before = each
