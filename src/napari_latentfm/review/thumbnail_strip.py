"""The strip of buttons that shows the thumbnails of hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QToolButton, QWidget

from latentfm_core.uncertainty.hypotheses import Hypothesis, Order
from napari_latentfm.review.thumbnails import ICON_SIDE, PICTURE_SIDE, PREVIEW_COLOUR, Picture

EMPTY = "The plausible outlines appear here."


@dataclass(frozen=True)
class Tile:
    """One button of the strip: picture, text and tooltip."""

    picture: Picture
    text: str
    tooltip: str


def tile(hypothesis: Hypothesis, picture: Picture, by: Order, count: int, area: str = "") -> Tile:
    """Return the button of a hypothesis.

    Parameters
    ----------
    by
        The order of the strip; the third line shows the figure that it sorts by.
    area
        Area of the hypothesis with its unit; by default in pixels.
    """
    area = area or f"{hypothesis.area:,} px²"
    look = "show nothing" if hypothesis.empty else "look like this"
    figures = {
        "weight": f"{len(hypothesis.members)} of {count}",
        "area": area,
        "agreement": f"Dice {hypothesis.agreement:.2f}",
        "difference": f"1 - IoU {hypothesis.distance:.2f}",
    }
    return Tile(
        picture,
        f"{100 * hypothesis.weight:.0f}% of samples\n{look}\n{figures[by]}",
        f"Sample {hypothesis.medoid} represents {len(hypothesis.members)} of {count} samples.\n"
        f"Area {area}. Compared with the mean mask: Dice "
        f"{hypothesis.agreement:.2f}, 1 - IoU {hypothesis.distance:.2f}.\n"
        "Click to see it on the image, and again to hide it (H next, Shift+H previous, Q hide).",
    )


BLANK = Tile(np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8), "%\nlook\nDice", "")


class ThumbnailStrip(QScrollArea):
    """A row of thumbnails, at most one of which is chosen.

    Attributes
    ----------
    chosen
        Emitted with the index of the clicked thumbnail, or -1 if the click ended the choice.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QToolButton] = []
        self.setWidgetResizable(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        # napari's style does not distinguish checked buttons.
        self.setStyleSheet(
            "QToolButton { border: 2px solid transparent; }"
            f"QToolButton:checked {{ border-color: {PREVIEW_COLOUR}; }}"
            "QToolButton:focus:!checked { border: 2px dotted gray; }"
            "QToolButton:focus:checked { border-style: dotted; }"
        )
        self._fill(QWidget())

    def show_tiles(self, tiles: Sequence[Tile]) -> None:
        """Replace all thumbnails; none is chosen then."""
        row = QWidget()
        self.buttons = [self._button(row, index, tile) for index, tile in enumerate(tiles)]
        self._fill(row)

    def mark(self, chosen: int) -> None:
        """Mark the chosen thumbnail, -1 for none, and scroll to it."""
        for index, button in enumerate(self.buttons):
            button.setChecked(index == chosen)
        if 0 <= chosen < len(self.buttons):
            self.ensureWidgetVisible(self.buttons[chosen])

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Take the height of the pictures in napari's style, which is known now."""
        super().showEvent(event)
        self._set_height()

    def _set_height(self) -> None:
        """Reserve the height of a picture: no button below moves when the pictures come or go."""
        example = self._button(self.viewport(), 0, BLANK)
        example.ensurePolished()
        bar = self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(example.sizeHint().height() + bar)
        example.setParent(None)

    def _fill(self, row: QWidget) -> None:
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for button in self.buttons:
            layout.addWidget(button)
        if not self.buttons:
            layout.addWidget(QLabel(EMPTY))
        layout.addStretch()
        # Deletes the row before this one.
        self.setWidget(row)

    def _button(self, row: QWidget, index: int, tile: Tile) -> QToolButton:
        button = QToolButton(row)
        button.setCheckable(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(ICON_SIDE, ICON_SIDE))
        button.setIcon(QIcon(_pixmap(tile.picture)))
        button.setText(tile.text)
        button.setAccessibleName(tile.text.replace("\n", " "))
        button.setToolTip(tile.tooltip)
        font = button.font()
        font.setPointSizeF(max(6.0, 0.8 * font.pointSizeF()))
        button.setFont(font)
        button.clicked.connect(lambda checked: self.chosen.emit(index if checked else -1))
        return button


def _pixmap(picture: Picture) -> QPixmap:
    height, width, _ = picture.shape
    data = np.ascontiguousarray(picture)
    image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    # The QImage refers to the array; the pixmap is a copy.
    pixmap: QPixmap = QPixmap.fromImage(image)
    return pixmap
