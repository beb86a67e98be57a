"""Small widgets that several panels share."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QWidget,
)


def push_button(text: str, tooltip: str, slot: Callable[[], None] | None = None) -> QPushButton:
    """Return a button with a tooltip that calls `slot`."""
    button = QPushButton(text)
    button.setToolTip(tooltip)
    if slot is not None:
        on_click(button, slot)
    return button


def on_click(button: QAbstractButton, slot: Callable[[], object]) -> None:
    """Call `slot` when a button is clicked."""
    # Without the lambda, Qt would pass whether the button is checked.
    button.clicked.connect(lambda: slot())


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return a layout of widgets side by side."""
    row = QHBoxLayout()
    row.setSpacing(3)
    for widget in widgets:
        row.addWidget(widget)
    return row


def top_label(text: str) -> QLabel:
    """Return a label for a control of several rows: it is next to the first."""
    label = QLabel(text)
    label.setContentsMargins(0, 4, 0, 0)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    return label


def labelled(text: str, control: QWidget, width: int) -> QWidget:
    """Return a control with a label before it that is at least `width` pixels wide."""
    row, label = QWidget(), top_label(text)
    label.setMinimumWidth(width)
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(label)
    layout.addWidget(control, 1)
    return row


def narrow(box: QComboBox) -> QComboBox:
    """Let a combo box be narrower than its longest choice; its list shows choices in full."""
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    box.setSizeAdjustPolicy(policy)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def wrapped_text(tooltip: str, text_format: Qt.TextFormat = Qt.TextFormat.PlainText) -> QLabel:
    """Return a label that wraps its text instead of widening its panel.

    Names of files may look like HTML: escape them if `text_format` is not plain.
    """
    label = QLabel()
    label.setTextFormat(text_format)
    label.setToolTip(tooltip)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def as_plain(text: str) -> str:
    """Return a text for a tooltip or a question, which would show names with "<" as HTML."""
    return f"<qt>{escape(text)}</qt>".replace("\n", "<br>") if "<" in text else text


def show_progress(bar: QProgressBar, done: int, total: int) -> None:
    """Show `done` of `total` when the window is drawn next; a total of 0 shows a busy bar.

    Otherwise `setValue` would draw the bar at once, and with it the whole window, including
    incomplete layers.
    """
    bar.setUpdatesEnabled(False)
    bar.setRange(0, total)
    bar.setValue(done)
    bar.setUpdatesEnabled(True)
