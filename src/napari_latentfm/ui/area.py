"""How the panels fill their dock: they scroll downwards and never sidewards."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QWidget

MIN_WIDTH = 310
"""Pixels that every panel needs to show all its words."""


def scroll_down(area: QScrollArea, content: QWidget) -> None:
    """Show `content` in an area that scrolls downwards where the window is low."""
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)


def fill_dock(area: QScrollArea, name: str, content: QWidget) -> None:
    """Make `area` a panel of its own, with a name by which Qt's tools find it."""
    area.setObjectName(name)
    scroll_down(area, content)
    area.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
    area.setMinimumWidth(MIN_WIDTH)
