"""Controls of the contours around pixels on which a share of the samples agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psygnal import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from latentfm_core.uncertainty.contours import AGREEMENT_LEVELS, AgreementContour
from napari_latentfm.review.overlays import CONTOUR_COLOURS
from napari_latentfm.ui.common import row_of


class ContourControls(QWidget):
    """Chooses whether contours are shown, and of which levels.

    Parameters
    ----------
    kept
        An earlier `state`.
    """

    changed = Signal()

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__()
        self.shown = QCheckBox("Contours of agreement")
        self.shown.setToolTip(
            "Lines around the pixels that 10, 50 and 90% of the samples mark as foreground."
        )
        self.shown.setChecked(kept.get("contours") is True)
        levels = kept.get("levels")
        self.levels: dict[float, QCheckBox] = {}
        for colour, level in zip(CONTOUR_COLOURS, AGREEMENT_LEVELS, strict=True):
            box = self.levels[level] = QCheckBox(f"{level:.0%}")
            picture = QPixmap(10, 10)
            picture.fill(QColor(colour))
            box.setIcon(QIcon(picture))
            box.setToolTip(
                f"The line around the pixels that {level:.0%} of the samples mark as foreground."
            )
            box.setChecked(not isinstance(levels, list) or level in levels)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for boxes in ((self.shown,), self.levels.values()):
            for box in boxes:
                box.toggled.connect(lambda _on: self.changed.emit())
            row = row_of(*boxes)
            row.addStretch()
            layout.addLayout(row)

    @property
    def state(self) -> dict[str, Any]:
        """The choices as JSON values."""
        levels = [level for level, box in self.levels.items() if box.isChecked()]
        return {"contours": self.shown.isChecked(), "levels": levels}

    def chosen(self, contours: tuple[AgreementContour, ...]) -> tuple[AgreementContour, ...]:
        """Return the contours of the chosen levels."""
        levels = self.levels
        return tuple(c for c in contours if c.level not in levels or levels[c.level].isChecked())
