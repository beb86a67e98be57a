"""Measurement of uncertain regions in a worker, and their table."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from latentfm_core.uncertainty.grid import grid_step, summary_on_grid
from latentfm_core.uncertainty.regions import UncertainRegion, enlarged, uncertain_regions
from latentfm_core.uncertainty.size import Spread, area_spread, diameter_spread
from napari_latentfm.layers.pixels import plane_spacing
from napari_latentfm.results.session import Reviewed
from napari_latentfm.ui.units import number, square

logger = logging.getLogger(__name__)

COLUMNS = ("", "Place", "Size", "At stake", "Confidence")
TOOLTIPS = (
    "Tick it when you have reviewed this region (J).",
    "On the outline of the mean mask, or separate from it.",
    "Size of the region.",
    "Expected area of errors in this region if the mean mask is taken.",
    "Mean confidence of the region.",
)
SHOWN_ROWS = 8


@dataclass(frozen=True)
class MeasuredRegions:
    """Uncertain regions of a result; `labels` are on a grid of `step` pixels."""

    reviewed: Reviewed
    regions: tuple[UncertainRegion, ...] = ()
    labels: NDArray[np.int32] | None = None
    step: int = 1
    area: Spread | None = None
    diameter: Spread | None = None
    error: str | None = None


def measure(reviewed: Reviewed) -> Generator[MeasuredRegions, None, None]:
    """Find the regions and the spread of sizes; never raises."""
    summary = reviewed.result.summary
    try:
        # A cancelled task ends at a yield.
        yield MeasuredRegions(reviewed)
        step = grid_step(reviewed.plane.shape)
        coarse = summary_on_grid(summary, step)
        regions, labels = uncertain_regions(coarse)
        yield MeasuredRegions(reviewed)
        spacing, _ = plane_spacing(reviewed.layer, reviewed.plane)
        reviewed.result.figures(spacing)  # measured here, not in the GUI thread
        area = area_spread(summary.sample_masks, spacing)
        yield MeasuredRegions(reviewed)
        wide = (spacing[0] * step, spacing[1] * step)
        diameter = diameter_spread(coarse.sample_masks, wide)
        every = tuple(enlarged(region, step, reviewed.plane.shape) for region in regions)
        yield MeasuredRegions(reviewed, every, labels, step, area, diameter)
    # An error is reported in the section.
    except Exception as error:
        logger.error("The uncertain regions could not be measured", exc_info=error)
        yield MeasuredRegions(reviewed, error=str(error) or type(error).__name__)


class RegionTable(QTableWidget):
    """The regions by decreasing area at stake, each with a check box.

    Attributes
    ----------
    chosen
        Emitted with the rank of a region that was clicked.
    ticked
        Emitted with the rank of a region, and whether it is checked now.
    """

    chosen = Signal(int)
    ticked = Signal(int, bool)

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.setHorizontalHeaderLabels(COLUMNS)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setToolTip("Click a row to go to its region. Tick the regions that you have reviewed.")
        self.itemChanged.connect(self._on_item)
        self.cellClicked.connect(lambda row, _column: self.chosen.emit(row + 1))

    def fill(
        self,
        regions: tuple[UncertainRegion, ...],
        resolved: set[int],
        spacing: tuple[float, float],
        unit: str,
    ) -> None:
        """Replace the regions; `spacing` is the pixel size (row, column) in `unit`."""
        with QSignalBlocker(self):
            self.setRowCount(len(regions))
            for region in regions:
                self._fill_row(region, region.rank in resolved, spacing[0] * spacing[1], unit)
        rows = sum(self.rowHeight(row) for row in range(min(SHOWN_ROWS, len(regions))))
        head = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(head + rows + 2 * self.frameWidth() + 4)

    def tick(self, rank: int, on: bool) -> None:
        """Check or uncheck a region, as by a click on its box."""
        item = self.item(rank - 1, 0)
        if item is not None:
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def _fill_row(self, region: UncertainRegion, done: bool, pixel: float, unit: str) -> None:
        tick = QTableWidgetItem(str(region.rank))
        tick.setFlags(tick.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        tick.setCheckState(Qt.CheckState.Checked if done else Qt.CheckState.Unchecked)
        words = (
            "outline" if region.place == "boundary" else "apart",
            f"{number(region.area * pixel)} {square(unit)}",
            f"{number(region.stake * pixel)} {square(unit)}",
            f"{region.confidence:.2f}",
        )
        for column, item in enumerate((tick, *map(QTableWidgetItem, words))):
            item.setToolTip(TOOLTIPS[column])
            self.setItem(region.rank - 1, column, item)

    def _on_item(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.ticked.emit(item.row() + 1, item.checkState() == Qt.CheckState.Checked)


def interval(spread: Spread) -> str:
    """Return mean and 90% interval."""
    return f"{number(spread.mean)} ({number(spread.low)} to {number(spread.high)})"
