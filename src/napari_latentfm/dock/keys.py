"""The keys of the dock, in one table for binding them and for the sheet that lists them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_latentfm.ui.area import scroll_down

SHEET_SIZE = (460, 460)
TAKEN = "(used by something else in this window)"


@dataclass(frozen=True)
class KeyGroup:
    """A group of keys.

    Attributes
    ----------
    actions
        Functions without arguments by napari key strings. The first line of its docstring is
        its description in the sheet. A text in place of a function is the description.
    """

    title: str
    actions: Mapping[str, Callable[[], None] | str]


def key_text(key: str) -> str:
    """Return a napari key string as it is written on buttons, such as ``"Ctrl+R"``."""
    return key.replace("-", "+")


def meaning(action: Callable[[], None] | str) -> str:
    """Return the description of an action, a sentence."""
    if isinstance(action, str):
        return action
    lines = (getdoc(action) or "").splitlines()
    return lines[0].replace("`", "") if lines else ""


class KeySheet(QDialog):
    """Lists all keys.

    Parameters
    ----------
    taken
        napari key strings that keep another meaning in this window.
    """

    def __init__(
        self, groups: Sequence[KeyGroup], taken: Collection[str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of LatentFM")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        page = QWidget()
        grid = QGridLayout(page)
        grid.setColumnStretch(1, 1)
        grid.setHorizontalSpacing(12)
        self.texts: dict[str, str] = {}
        row = 0
        for group in groups:
            grid.addWidget(QLabel(f"<b>{group.title}</b>"), row, 0, 1, 2)
            row += 1
            for key, action in group.actions.items():
                text = f"{meaning(action)} {TAKEN}" if key in taken else meaning(action)
                self.texts[key_text(key)] = text
                words = QLabel(text)
                words.setWordWrap(True)
                grid.addWidget(QLabel(key_text(key)), row, 0, Qt.AlignmentFlag.AlignTop)
                grid.addWidget(words, row, 1)
                row += 1
        grid.setRowStretch(row, 1)
        area = QScrollArea()
        scroll_down(area, page)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(area)
        layout.addWidget(buttons)
        self.resize(*SHEET_SIZE)
