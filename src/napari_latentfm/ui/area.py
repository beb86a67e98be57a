"""Dock panels, which scroll vertically only and end their work when removed from the dock."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QWidget

MIN_WIDTH = 310
"""Width in pixels that every panel needs for all its texts."""


def scroll_down(area: QScrollArea, content: QWidget) -> None:
    """Show `content` in an area that scrolls vertically if the window is low."""
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)


class DockPanel(QScrollArea):
    """A panel that ends its work when it leaves its dock."""

    def fill(self, name: str, content: QWidget) -> None:
        """Show `content`, and set an object name for Qt's tools."""
        self.setObjectName(name)
        scroll_down(self, content)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(MIN_WIDTH)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """End the work when the panel leaves its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.release()

    def release(self) -> None:
        """End the work, since the panel is not visible."""
        raise NotImplementedError
