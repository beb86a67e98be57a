"""The list of objects of a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psygnal import Signal
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem

from latentfm_core.colours import label_colour
from napari_latentfm.background.signals import pause_timer

SWATCH = 12
"""Pixels."""


@dataclass(frozen=True)
class Row:
    """A row of the list: one object.

    Attributes
    ----------
    state
        "taken" into the annotation, "proposed", "not found", or "" without an answer.
    visible
        Whether it is shown while another one is current.
    """

    number: int
    name: str
    area: str
    state: str
    visible: bool


class ObjectList(QTreeWidget):
    """Objects with a box for their visibility.

    Attributes
    ----------
    chosen
        Emitted with the number of the object that the user clicked.
    toggled
        Emitted with a number and whether it is to be visible.
    """

    chosen = Signal(int)
    toggled = Signal(int, bool)

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "Objects of this plane. Click one to refine it. The check box shows or hides it while "
            "another one is current."
        )
        self.setHeaderLabels(["Object", "Area", "State"])
        self.setRootIsDecorated(False)
        self.setMaximumHeight(130)
        self.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            self.header().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.header().setStretchLastSection(False)
        self._rows: list[Row] = []
        self._ticked: tuple[int, bool] | None = None
        self._after_click = pause_timer(self, 0, self._on_ticked)
        self._own: tuple[str, ...] = ()
        self.itemChanged.connect(self._on_item)
        self.itemClicked.connect(self._on_click)

    @property
    def rows(self) -> list[Row]:
        """The rows."""
        return list(self._rows)

    def fill(self, rows: Sequence[Row], current: int, own: tuple[str, ...] = ()) -> None:
        """Show objects.

        Parameters
        ----------
        current
            Number of the current one, 0 for none.
        own
            The model's own colours of its classes, as in the annotation.
        """
        with QSignalBlocker(self):
            if list(rows) != self._rows or own != self._own:
                self._rows, self._own = list(rows), own
                self.clear()
                for row in rows:
                    self._add(row)
            for place in range(self.topLevelItemCount()):
                item = self.topLevelItem(place)
                if item is not None:
                    item.setSelected(item.data(0, Qt.ItemDataRole.UserRole) == current)

    def _add(self, row: Row) -> None:
        item = QTreeWidgetItem(self, [f"{row.number}  {row.name}", row.area, row.state])
        item.setData(0, Qt.ItemDataRole.UserRole, row.number)
        item.setFlags(
            Qt.ItemFlag.ItemIsEnabled
            | Qt.ItemFlag.ItemIsSelectable
            | Qt.ItemFlag.ItemIsUserCheckable
        )
        checked = Qt.CheckState.Checked if row.visible else Qt.CheckState.Unchecked
        item.setCheckState(0, checked)
        swatch = QPixmap(SWATCH, SWATCH)
        swatch.fill(QColor(label_colour(row.number, self._own)))
        item.setIcon(0, QIcon(swatch))

    def _on_item(self, item: QTreeWidgetItem, _column: int) -> None:
        number = int(item.data(0, Qt.ItemDataRole.UserRole))
        on = item.checkState(0) == Qt.CheckState.Checked
        old = next((row for row in self._rows if row.number == number), None)
        if old is not None and old.visible != on:
            self._ticked = number, on
            # Qt still reports the click on this item, which may no longer be in the list then.
            self._after_click.start()

    def _on_ticked(self) -> None:
        ticked, self._ticked = self._ticked, None
        if ticked is not None:
            self.toggled.emit(*ticked)

    def _on_click(self, item: QTreeWidgetItem, _column: int) -> None:
        if self._ticked is None:
            self.chosen.emit(int(item.data(0, Qt.ItemDataRole.UserRole)))
