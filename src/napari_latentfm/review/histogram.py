"""A small histogram of the sizes of samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_latentfm.layers.specs import MEAN_COLOUR, SAMPLE_COLOUR

BAR_COLOUR = SAMPLE_COLOUR
HEIGHT = 66
SCALE_HEIGHT = 14
"""Pixels below the bars, for the ends of the axis."""
BINS = 12


class Histogram(QWidget):
    """Bars of a few values with a line at their mean; the colours are Okabe-Ito.

    Attributes
    ----------
    ends
        Texts at the two ends of the axis.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts = np.zeros(0, np.int64)
        self._mean = 0.5
        self.ends = ("", "")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Heights of the bars."""
        return self._counts

    def show_values(self, values: NDArray[np.float64], write: Callable[[float], str] = str) -> None:
        """Draw new values, or nothing if there are none; `write` formats the ends of the axis."""
        self._counts = np.zeros(0, np.int64)
        if values.size:
            low, high = float(values.min()), float(values.max())
            # If all values are equal, there is one bar in the centre.
            margin = 0.0 if high > low else max(abs(low), 1.0)
            span = (low - margin, high + margin)
            self.ends = (write(span[0]), write(span[1]))
            self._counts = np.histogram(values, BINS, span)[0].astype(np.int64)
            self._mean = (float(values.mean()) - span[0]) / (span[1] - span[0])
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the preferred size."""
        return QSize(200, HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the bars."""
        if not self._counts.size:
            return
        painter = QPainter(self)
        width, height = self.width() / len(self._counts), self.height() - SCALE_HEIGHT
        for number, count in enumerate(self._counts):
            tall = height * count / self._counts.max()
            bar = QRectF(number * width + 1, height - tall, width - 2, tall)
            painter.fillRect(bar, QColor(BAR_COLOUR))
        painter.setPen(QPen(QColor(MEAN_COLOUR), 2))
        line = round(self._mean * self.width())
        painter.drawLine(line, 0, line, height)
        painter.setPen(QPen(self.palette().mid().color(), 1))
        painter.drawLine(0, height, self.width(), height)
        font = painter.font()
        font.setPointSizeF(8)
        painter.setFont(font)
        painter.setPen(self.palette().color(self.foregroundRole()))
        below = QRectF(0, height + 1, self.width(), SCALE_HEIGHT - 1)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, self.ends[0])
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, self.ends[1])
        painter.end()
