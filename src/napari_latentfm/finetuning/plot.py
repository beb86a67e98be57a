"""A small line plot that is updated during a run, without another library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

BLUE, ORANGE, GREY = "#56B4E9", "#E69F00", "#999999"
"""Okabe-Ito colours, distinguishable with every kind of colour vision."""
HEIGHT = 96
"""Pixels."""
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 16, 14
MAX_POINTS = 300
"""Most points that are drawn; more are averaged in equal blocks."""


def thinned(points: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Return ``(n, 2)`` points, n at most `MAX_POINTS`, as means of equal blocks."""
    values = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(values) <= MAX_POINTS:
        return values
    return np.stack([block.mean(axis=0) for block in np.array_split(values, MAX_POINTS)])


class CurvePlot(QWidget):
    """One curve over the training steps, optionally with a dashed line for comparison.

    Parameters
    ----------
    bounds
        Lowest and highest value of the axis; None to follow the values.

    Attributes
    ----------
    final
        The final value, which is shown next to the title instead of the last point; None during
        a run.
    """

    def __init__(
        self,
        title: str,
        colour: str,
        bounds: tuple[float, float] | None = None,
        marks: bool = False,
    ) -> None:
        super().__init__()
        self._title, self._colour = title, QColor(colour)
        self._bounds, self._marks = bounds, marks
        self.points: list[tuple[float, float]] = []
        self.level: float | None = None
        self.level_name = ""
        self.final: float | None = None
        self.last_step = 1
        self.setMinimumHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def clear(self) -> None:
        """Remove all points."""
        self.points.clear()
        self.level = self.final = None
        self.last_step = 1
        self.update()

    def add(self, step: float, value: float) -> None:
        """Append a point; Qt merges repaints."""
        self.points.append((step, value))
        self.last_step = max(self.last_step, int(step))
        self.update()

    def set_level(self, value: float, name: str) -> None:
        """Draw a dashed line at `value`."""
        self.level, self.level_name = value, name
        self.update()

    def settle(self, value: float | None) -> None:
        """Show the final value; None for the last point."""
        self.final = value
        self.update()

    def set_end(self, step: int) -> None:
        """Set the end of the axis of steps."""
        self.last_step = max(1, step)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw title, axes, level and curve."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        area = QRectF(
            LEFT, TOP, max(1, self.width() - LEFT - RIGHT), max(1, self.height() - TOP - BOTTOM)
        )
        low, high = self._range()
        painter.setPen(text)
        font = painter.font()
        font.setPointSizeF(8)
        painter.setFont(font)
        painter.drawText(
            QRectF(LEFT, 0, area.width(), TOP), Qt.AlignmentFlag.AlignLeft, self.head()
        )
        right = Qt.AlignmentFlag.AlignRight
        painter.drawText(QRectF(0, area.top() - 5, LEFT - 4, 12), right, f"{high:.2f}")
        painter.drawText(QRectF(0, area.bottom() - 8, LEFT - 4, 12), right, f"{low:.2f}")
        below = QRectF(area.left(), area.bottom() + 1, area.width(), BOTTOM)
        painter.drawText(below, right, f"step {self.last_step}")
        painter.setPen(QPen(QColor(GREY), 1))
        painter.drawRect(area)
        self._draw_curves(painter, area, low, high)
        painter.end()

    def _draw_curves(self, painter: QPainter, area: QRectF, low: float, high: float) -> None:
        def position(step: float, value: float) -> QPointF:
            share = (value - low) / (high - low)
            return QPointF(
                area.left() + area.width() * step / self.last_step,
                area.bottom() - area.height() * min(1.0, max(0.0, share)),
            )

        if self.level is not None:
            painter.setPen(QPen(QColor(GREY), 1.5, Qt.PenStyle.DashLine))
            painter.drawLine(position(0, self.level), position(self.last_step, self.level))
        positions = [position(float(step), float(value)) for step, value in thinned(self.points)]
        painter.setPen(QPen(self._colour, 1.5))
        painter.drawPolyline(QPolygonF(positions))
        if self._marks or len(positions) == 1:
            painter.setBrush(self._colour)
            for point in positions:
                painter.drawEllipse(point, 2.5, 2.5)

    def _range(self) -> tuple[float, float]:
        if self._bounds is not None:
            return self._bounds
        values = thinned(self.points)[:, 1]
        high = float(values.max()) if len(values) else 1.0
        return 0.0, high * 1.05 or 1.0

    def head(self) -> str:
        """Return the text above the curve."""
        head = self._title
        if self.final is not None:
            head += f" {self.final:.3f}"
        elif self.points:
            head += f" {self.points[-1][1]:.3f}"
        if self.level is not None:
            head += f"   - - {self.level_name} {self.level:.3f}"
        return head
