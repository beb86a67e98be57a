"""A column of controls that Tab goes through from top to bottom."""

from __future__ import annotations

from itertools import pairwise

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QWidget

ROW = 8
"""Pixels by which the controls of one row may differ in height."""


class Column(QWidget):
    """Contains controls that Tab goes through in visual order."""

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802
        """Move the focus."""
        for before, after in pairwise(self._controls()):
            QWidget.setTabOrder(before, after)
        return super().focusNextPrevChild(forward)

    def _controls(self) -> list[QWidget]:
        """Return what Tab can reach, row by row."""
        places = []
        for each in self.findChildren(QWidget):
            by_tab = each.focusPolicy() & Qt.FocusPolicy.TabFocus and each.focusProxy() is None
            if by_tab and each.isVisible():
                at = each.mapTo(self, QPoint(0, 0))
                places.append((at.y(), at.x(), each))
        places.sort(key=lambda place: place[0])
        rows: list[list[tuple[int, int, QWidget]]] = []
        for place in places:
            if not rows or place[0] > rows[-1][0][0] + ROW:
                rows.append([])
            rows[-1].append(place)
        return [each for row in rows for _, _, each in sorted(row, key=lambda place: place[1])]
