"""First steps, for a new user."""

from __future__ import annotations

from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from napari_latentfm.ui.common import push_button

STEPS = (
    "Open an image or drop a folder.",
    "<b>Run</b>, or point at an object.",
    "Compare the outlines, fix, <b>Accept</b>.",
)


class Welcome(QFrame):
    """Three steps, until they are dismissed."""

    dismissed = QtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.close_button = push_button("Got it", "Do not show these steps again.", self.dismiss)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 4)
        steps = QVBoxLayout()
        steps.setSpacing(1)
        for number, text in enumerate(STEPS, 1):
            line = QLabel(f"{number}. {text}")
            line.setWordWrap(True)
            steps.addWidget(line)
        row.addLayout(steps, 1)
        row.addWidget(self.close_button)

    def dismiss(self) -> None:
        """Hide the steps permanently."""
        self.hide()
        self.dismissed.emit()
