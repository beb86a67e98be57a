"""The table of the images of a work list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QStyledItemDelegate, QTableView

from latentfm_core.worklist.item import Item
from napari_latentfm.ui.common import as_plain

COLUMNS = ("Image", "State", "Time", "Uncertain")
MEANINGS = {
    "Time": "Minutes and seconds spent on the image.",
    "Uncertain": "1 - expected Dice, an estimate: 0% if all samples agree with the mean mask, "
    "near 100% if they contradict each other, the mean mask is empty or covers the image, or "
    "the image is unlike the training images. "
    "Check the images with the highest uncertainty first.",
}
SIGNS = {"not started": "", "in progress": "◐ ", "completed": "✓ ", "flagged": "⚑ "}
"""States are shown by shape, not by colour alone."""
UNSAVED = "↺ recover"
"""Shown for an image with autosaved work that is not in any file of the list."""


class Rows(QAbstractTableModel):
    """Images in the order of the work list."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.items: Mapping[str, Item] = {}
        self.unsaved: frozenset[str] = frozenset()
        self.current: str | None = None

    def fill(self, names: list[str], items: Mapping[str, Item], current: str | None) -> None:
        """Replace the rows; selection and scrolling stay if the names are the same."""
        others = names != self.names
        if others:
            self.beginResetModel()
        self.names, self.items, self.current = names, items, current
        if others:
            self.endResetModel()
        self.refresh()

    def refresh(self) -> None:
        """Show what has changed in the rows."""
        if self.names:
            last = self.index(len(self.names) - 1, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def rowCount(self, _parent: Any = None) -> int:  # noqa: N802
        """Return the number of images."""
        return len(self.names)

    def columnCount(self, _parent: Any = None) -> int:  # noqa: N802
        """Return the number of columns."""
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:  # noqa: N802
        """Return the title of a column, or its tooltip."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal:
            return MEANINGS.get(COLUMNS[section])
        return None

    def data(self, index: Any, role: int = 0) -> Any:
        """Return the text of a cell, or its tooltip."""
        name = self.names[index.row()]
        item = self.items.get(name, Item())
        if role == Qt.ItemDataRole.ToolTipRole:
            return as_plain(f"{name}\n{state_text(item, name in self.unsaved)}")
        if role == Qt.ItemDataRole.FontRole and name == self.current and not index.column():
            bold = QFont()
            bold.setBold(True)
            return bold
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        minutes, seconds = divmod(round(item.seconds), 60)
        return (
            name,
            UNSAVED if name in self.unsaved else state_text(item),
            f"{minutes}:{seconds:02d}" if item.seconds else "",
            "" if item.uncertainty is None else f"{item.uncertainty:.0%}",
        )[index.column()]


def state_text(item: Item, unsaved: bool = False) -> str:
    """Return the text for the state of an image."""
    state: str = item.state
    if item.state == "completed":
        state = "done (empty)" if item.empty else "done"
    if item.flag:
        state = f"{SIGNS['flagged']}{state}"
    reason = item.error or item.note
    if item.state == "flagged" and reason:
        return (f"{UNSAVED} · " if unsaved else "") + f"{SIGNS['flagged']}{reason}"
    note = f": {item.note}" if item.note else ""
    return (f"{UNSAVED} · " if unsaved else "") + f"{SIGNS[item.state]}{state}{note}"


class _BeginningShown(QStyledItemDelegate):
    """Cuts off the end of a text that is too long, not its middle."""

    def initStyleOption(self, option: Any, index: Any) -> None:  # noqa: N802
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideRight


class ImageTable(QTableView):
    """Images, states, times and uncertainties, filtered by text.

    Attributes
    ----------
    chosen
        Emitted with the name of a row that was double-clicked or entered.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()
        self.filtered = QSortFilterProxyModel(self)
        self.filtered.setSourceModel(self.rows)
        self.filtered.setFilterKeyColumn(-1)
        self.filtered.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setModel(self.filtered)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setToolTip("Double-click an image to open it.")
        self.setMinimumHeight(140)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 78), (2, 44), (3, 74)):
            header.resizeSection(column, width)
        self.setItemDelegateForColumn(1, _BeginningShown(self))
        # Names of one series differ at the end.
        self.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.activated.connect(self._on_activated)

    def fill(self, names: list[str], items: Mapping[str, Item], current: str | None) -> None:
        """Replace the rows; select another image only when it is opened."""
        is_opened, bar = current != self.rows.current, self.verticalScrollBar()
        wanted, top = current if is_opened else self.selected(), bar.value()
        self.rows.fill(names, items, current)
        if wanted in names and wanted != self.selected():
            index = self.filtered.mapFromSource(self.rows.index(names.index(wanted), 0))
            if index.isValid():
                self.selectRow(index.row())
        if not is_opened:
            bar.setValue(top)

    def mark_unsaved(self, names: frozenset[str]) -> None:
        """Mark images with work that can be recovered."""
        self.rows.unsaved = names
        self.rows.refresh()

    def filter(self, text: str) -> None:
        """Show only rows with a text in any column."""
        self.filtered.setFilterFixedString(text)

    def shown(self) -> list[str]:
        """Return the names in the visible rows."""
        count = self.filtered.rowCount()
        indices = [self.filtered.mapToSource(self.filtered.index(i, 0)) for i in range(count)]
        return [self.rows.names[index.row()] for index in indices]

    def selected(self) -> str | None:
        """Return the name of the selected image, or None."""
        index = self.currentIndex()
        return self._name_at(index) if index.isValid() else None

    def _name_at(self, index: QModelIndex) -> str:
        return self.rows.names[self.filtered.mapToSource(index).row()]

    def _on_activated(self, index: QModelIndex) -> None:
        self.chosen.emit(self._name_at(index))
