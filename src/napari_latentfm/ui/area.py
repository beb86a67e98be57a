"""Layout of panels in their dock: they scroll vertically, never horizontally."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QWidget

MIN_WIDTH = 310
"""Width in pixels that every panel needs for all its texts."""


def scroll_down(area: QScrollArea, content: QWidget) -> None:
    """Show `content` in an area that scrolls vertically if the window is low."""
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)


def fill_dock(area: QScrollArea, name: str, content: QWidget) -> None:
    """Make `area` a panel, with an object name for Qt's tools."""
    area.setObjectName(name)
    scroll_down(area, content)
    area.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
    area.setMinimumWidth(MIN_WIDTH)
