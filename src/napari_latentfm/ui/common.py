"""Small parts that several panels are made of."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QComboBox, QLabel, QProgressBar, QPushButton, QSizePolicy


def push_button(text: str, tooltip: str, slot: Callable[[], None] | None = None) -> QPushButton:
    """Return a button that explains itself and calls `slot`, which may be a method."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    if slot is not None:
        # Qt would hand over whether it is checked.
        made.clicked.connect(lambda: slot())
    return made


def narrow(box: QComboBox) -> QComboBox:
    """Let a box be narrower than its longest choice, which its list shows in full."""
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    box.setSizeAdjustPolicy(policy)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def wrapped_text(tooltip: str) -> QLabel:
    """Return a text that wraps its lines instead of widening its panel."""
    label = QLabel()
    label.setToolTip(tooltip)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def show_progress(bar: QProgressBar, done: int, total: int) -> None:
    """Show `done` of `total` the next time that the window is drawn; a total of 0 is open.

    Qt draws a bar within `setValue`, and the whole window with it: the image too, and layers that
    are only half there.
    """
    bar.setUpdatesEnabled(False)
    bar.setRange(0, total)
    bar.setValue(done)
    bar.setUpdatesEnabled(True)
