"""A line for the path of a folder, with a button to choose it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from latentfm_core.files.user_path import user_path


class FolderEdit(QWidget):
    """A line for the path of a folder, with a button to choose it.

    Parameters
    ----------
    hint
        Text of the line while it is empty.
    compact
        Whether the button is as narrow as possible.

    Attributes
    ----------
    chosen
        Emitted when a folder was chosen in the dialog, or Enter was pressed in the line.
    """

    changed = QtSignal()
    chosen = QtSignal()

    def __init__(
        self,
        tooltip: str,
        title: str = "Choose a folder",
        hint: str = "",
        compact: bool = False,
    ) -> None:
        super().__init__()
        self._title = title
        self.line = QLineEdit()
        self.line.setToolTip(tooltip)
        self.line.setPlaceholderText(hint)
        self.button = QPushButton("…" if compact else "Browse…")
        self.button.setToolTip(f"{title}.")
        if compact:
            self.button.setFixedWidth(28)
        row = self._row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        if compact:
            row.setSpacing(3)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._choose)
        self.line.returnPressed.connect(self.chosen)
        self.line.textChanged.connect(lambda _: self.changed.emit())

    def add(self, widget: QWidget) -> None:
        """Add a widget at the end of the line."""
        self._row.addWidget(widget)

    def path(self) -> Path | None:
        """Return the folder, or None if none is given."""
        text = self.line.text().strip()
        return user_path(text) if text else None

    def set_path(self, path: Path | str) -> None:
        """Set the folder."""
        self.line.setText(str(path))

    def _choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self._title, self.line.text())
        if chosen:
            self.set_path(chosen)
            self.chosen.emit()
