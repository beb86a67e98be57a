"""Buttons of the brushes for certain pixels, one for each class and one for the background."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.sampling.status import foreground
from napari_latentfm.ui.common import push_button


class StrokeBrushes(QWidget):
    """Chooses what the brush marks.

    Attributes
    ----------
    chosen
        Emitted with the value that the brush paints.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._several_only = False
        self.names: tuple[str, ...] = ()
        self.class_buttons: list[QPushButton] = []
        self._grid = QGridLayout()
        self.background_button = push_button(
            "Certain background (Shift+G)",
            "Mark pixels that are certainly not foreground.",
            lambda: self.chosen.emit(BACKGROUND),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._grid)
        layout.addWidget(self.background_button)

    def offer_several_only(self) -> None:
        """Offer the brushes of classes only, and only if there are several."""
        self._several_only = True
        self.background_button.hide()
        self.setVisible(len(self.names) > 1)

    def offer(self, names: Sequence[str]) -> None:
        """Offer a brush for each class."""
        if tuple(names) == self.names:
            return
        self.names = tuple(names)
        self.background_button.setToolTip(
            f"Mark pixels that are certainly not {foreground(self.names)}."
        )
        for button in self.class_buttons:
            button.hide()
            button.deleteLater()
        self.class_buttons = [self._button(*each) for each in enumerate(names)]
        if self._several_only:
            self.setVisible(len(self.names) > 1)

    def _button(self, number: int, name: str) -> QPushButton:
        key = " (G)" if number == 0 else ""
        button = push_button(
            f"Certain {name}{key}",
            f"Mark pixels that are certainly {name}.",
            lambda: self.chosen.emit(FOREGROUND + number),
        )
        self._grid.addWidget(button, number // 2, number % 2)
        return button
