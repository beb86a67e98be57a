"""The places of doubt, one after the other, and how far the samples differ in size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.review.doubt import DoubtRegion, doubt_regions
from latentfm_core.review.spread import Spread, area_spread, diameter_spread
from napari_latentfm.listening import listen
from napari_latentfm.planes import Plane
from napari_latentfm.review.histogram import Histogram
from napari_latentfm.review.overlays import Overlays
from napari_latentfm.review.session import Reviewed, ReviewSession
from napari_latentfm.review.travel import go_to, plane_spacing

logger = logging.getLogger(__name__)

NOTHING = "Nothing is under review. Draw samples of an image to see where they disagree."
COLUMNS = ("", "Place", "Size", "At stake", "Conf.")
DOUBT_COLOUR = "#d55e00"
"""Okabe-Ito vermilion, unlike the preview of a hypothesis."""
SHOWN_ROWS = 8
SAME = 0.5
"""IoU from which on a region of new samples is one that was resolved before."""


_Settled = dict[Plane, list[NDArray[np.bool_]]]


@dataclass(frozen=True)
class Doubt:
    """What the worker makes of a result."""

    reviewed: Reviewed
    regions: tuple[DoubtRegion, ...] = ()
    labels: NDArray[np.int32] | None = None
    area: Spread | None = None
    diameter: Spread | None = None
    error: str | None = None


def measure(reviewed: Reviewed) -> Generator[Doubt, None, None]:
    """Find the regions and the spread; never raises."""
    summary = reviewed.result.summary
    try:
        # A cancelled worker ends at a yield.
        yield Doubt(reviewed)
        regions, labels = doubt_regions(summary)
        yield Doubt(reviewed)
        spacing, _ = plane_spacing(reviewed.layer, reviewed.plane)
        area = area_spread(summary.sample_masks, spacing)
        diameter = diameter_spread(summary.sample_masks, spacing)
        yield Doubt(reviewed, regions, labels, area, diameter)
    # The worker would swallow a RuntimeError, and every other one would be a crash report.
    except Exception as error:
        logger.error("The doubt could not be measured", exc_info=error)
        yield Doubt(reviewed, error=str(error) or type(error).__name__)


class DoubtSection(QWidget):
    """Shows the regions of low confidence and walks through them.

    Attributes
    ----------
    regions
        The regions in the order of the table.
    resolved
        Ranks of the regions that the annotator has ticked.
    here
        Rank of the region on screen; 0 for none.
    ticked
        Emitted when a region was ticked or unticked.
    """

    ticked = Signal()

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._overlays = Overlays(session, "doubt", DOUBT_COLOUR)
        self._workers: list[Any] = []
        self._doubt: Doubt | None = None
        self._settled: WeakKeyDictionary[Any, _Settled] = WeakKeyDictionary()
        self.regions: tuple[DoubtRegion, ...] = ()
        self.resolved: set[int] = set()
        self.here = 0
        self._lay_out()
        listen(self, session.changed, self._on_changed)
        self.destroyed.connect(partial(_part, self._overlays, self._workers))
        self._on_changed()

    def actions(self) -> dict[str, Callable[[], None]]:  # type: ignore[override]
        """Return napari key strings and what they do."""
        return {"N": self.next, "Shift-N": self.previous, "J": self.resolve}

    def release(self) -> None:
        """Cancel the work and remove the outline from the viewer."""
        for worker in self._workers:
            worker.quit()
        self._workers.clear()
        self._overlays.remove("preview")

    def next(self) -> None:
        """Go to the next region, the first one after the last."""
        if self.regions:
            self.visit(self.here % len(self.regions) + 1)

    def previous(self) -> None:
        """Go to the region before, the last one before the first."""
        if self.regions:
            self.visit((self.here - 2) % len(self.regions) + 1)

    def visit(self, rank: int) -> None:
        """Move camera and sliders to a region and outline it."""
        reviewed = self._session.current
        if reviewed is None or not 1 <= rank <= len(self.regions):
            return
        self.here = rank
        region = self.regions[rank - 1]
        go_to(self._session.viewer, reviewed.layer, reviewed.plane, region.box)
        self._overlays.preview(reviewed, self.region_mask(rank))
        self.table.selectRow(rank - 1)
        self._count()

    def resolve(self) -> None:
        """Tick the region on screen, or untick it; after a tick go to the next open one."""
        if not self.here:
            self.next()
            return
        ticked = self.here not in self.resolved
        self._tick_box(self.here).setCheckState(
            Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
        )
        count = len(self.regions)
        following = [(self.here + step - 1) % count + 1 for step in range(1, count)]
        still = [rank for rank in following if rank not in self.resolved]
        if ticked and still:
            self.visit(still[0])

    def region_mask(self, rank: int) -> NDArray[np.bool_]:
        """Return ``(H, W)`` bool of a region of the table."""
        if self._doubt is None or self._doubt.labels is None:
            raise IndexError(f"there is no region {rank}")
        return np.asarray(self._doubt.labels == rank)

    def resolved_regions(self) -> list[dict[str, Any]]:
        """Return the ticked regions as JSON values, for the provenance of an annotation."""
        return [
            {
                "rank": region.rank,
                "place": region.place,
                "box": list(region.box),
                "area": region.area,
                "stake": round(region.stake, 2),
                "confidence": round(region.confidence, 4),
            }
            for region in self.regions
            if region.rank in self.resolved
        ]

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self._remember()
        for worker in self._workers:
            worker.quit()
        self._workers.clear()
        self._overlays.remove("preview", later=reviewed is None)
        self._doubt, self.regions, self.here = None, (), 0
        self.resolved.clear()
        self._fill()
        self.setEnabled(reviewed is not None)
        self._say(NOTHING if reviewed is None else "Looking for doubt…")
        if reviewed is not None:
            worker = create_worker(measure, reviewed, _start_thread=False)
            worker.yielded.connect(self._on_measured)
            self._workers.append(worker)
            worker.start()

    def _remember(self) -> None:
        """Keep what was ticked, for when samples of this plane are shown again."""
        last = self._doubt
        if last is None:
            # Nothing was measured: what was kept before still holds.
            return
        planes = self._settled.setdefault(last.reviewed.layer, {})
        # The table is the truth: what was unticked is forgotten.
        planes[last.reviewed.plane] = [self.region_mask(rank) for rank in self.resolved]

    def _on_measured(self, doubt: Doubt) -> None:
        if doubt.reviewed is not self._session.current:
            return
        if doubt.error is not None:
            self._say(f"No regions: {doubt.error}")
        elif doubt.labels is not None:
            self._doubt, self.regions = doubt, doubt.regions
            self.resolved = {rank for rank in range(1, len(doubt.regions) + 1) if self._was(rank)}
            self._fill()
            self._count()

    def _was(self, rank: int) -> bool:
        """Tell whether a region was ticked in earlier samples of the same plane."""
        reviewed = self._session.current
        if reviewed is None:
            return False
        mask = self.region_mask(rank)
        for settled in self._settled.get(reviewed.layer, {}).get(reviewed.plane, []):
            union = np.count_nonzero(mask | settled)
            if np.count_nonzero(mask & settled) > SAME * union:
                return True
        return False

    def _fill(self) -> None:
        with _silent(self.table):
            self.table.setRowCount(len(self.regions))
            for row, region in enumerate(self.regions):
                self._fill_row(row, region)
        rows = sum(self.table.rowHeight(row) for row in range(min(SHOWN_ROWS, len(self.regions))))
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(head + rows + 2 * self.table.frameWidth() + 4)
        self._fill_sizes()

    def _fill_row(self, row: int, region: DoubtRegion) -> None:
        reviewed = self._session.current
        if reviewed is None:
            return
        spacing, unit = plane_spacing(reviewed.layer, reviewed.plane)
        pixel = spacing[0] * spacing[1]
        tick = QTableWidgetItem(str(region.rank))
        tick.setFlags(tick.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        done = region.rank in self.resolved
        tick.setCheckState(Qt.CheckState.Checked if done else Qt.CheckState.Unchecked)
        words = (
            "outline" if region.place == "boundary" else "apart",
            f"{_number(region.area * pixel)} {_square(unit)}",
            f"{_number(region.stake * pixel)} {_square(unit)}",
            f"{region.confidence:.2f}",
        )
        for column, item in enumerate((tick, *map(QTableWidgetItem, words))):
            item.setToolTip(TOOLTIPS[column])
            self.table.setItem(row, column, item)

    def _fill_sizes(self) -> None:
        doubt = self._doubt
        values = np.zeros(0) if doubt is None or doubt.area is None else doubt.area.values
        self.histogram.show_values(values)
        if doubt is None or doubt.area is None or doubt.diameter is None:
            self.sizes.setText("")
            return
        reviewed = doubt.reviewed
        _, unit = plane_spacing(reviewed.layer, reviewed.plane)
        summary = reviewed.result.summary
        kind = "calibrated" if summary.calibrated else "raw"
        self.sizes.setText(
            f"Confidence of the image: {float(summary.confidence.mean()):.3f} ({kind})\n"
            f"Area: {_interval(doubt.area)} {_square(unit)}\n"
            f"Diameter: {_interval(doubt.diameter)} {unit}"
        )

    def _count(self) -> None:
        if not self.regions:
            self._say("The samples agree everywhere: no region of doubt.")
            return
        seen = f", number {self.here} on screen" if self.here else ""
        self._say(f"{len(self.resolved)} of {len(self.regions)} resolved{seen}.")

    def _on_item(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            rank = item.row() + 1
            if item.checkState() == Qt.CheckState.Checked:
                self.resolved.add(rank)
            else:
                self.resolved.discard(rank)
            self._count()
            self.ticked.emit()

    def _tick_box(self, rank: int) -> QTableWidgetItem:
        item = self.table.item(rank - 1, 0)
        if item is None:
            raise IndexError(f"there is no region {rank}")
        return item

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def _lay_out(self) -> None:
        self.sizes = QLabel()
        self.sizes.setWordWrap(True)
        self.sizes.setToolTip("Mean over the samples, and in brackets the 90 % interval.")
        self.histogram = Histogram()
        self.histogram.setToolTip(
            "Areas of the samples, from the smallest to the largest; the line is their mean."
        )
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(24)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setToolTip("Click a row to go there. Tick what you have settled.")
        self.table.itemChanged.connect(self._on_item)
        self.table.cellClicked.connect(lambda row, _column: self.visit(row + 1))
        self.previous_button = _button("Previous (Shift+N)", "Go one region back.", self.previous)
        self.next_button = _button("Next (N)", "Go to the next region of doubt.", self.next)
        self.resolve_button = _button(
            "Resolved (J)", "Tick the region on screen and go to the next open one.", self.resolve
        )
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        row = QHBoxLayout()
        row.addWidget(self.previous_button)
        row.addWidget(self.next_button)
        for widget in (self.sizes, self.histogram, self.table):
            layout.addWidget(widget)
        layout.addLayout(row)
        layout.addWidget(self.resolve_button)
        layout.addWidget(self.status)


TOOLTIPS = (
    "Tick it when you have settled this region (J).",
    "Along the outline of the mean mask, or apart from it.",
    "Size of the region.",
    "Expected area that is wrong here if the mean mask is taken.",
    "Mean confidence of the region.",
)


class _silent:  # noqa: N801
    """Blocks the signals of a widget for a while."""

    def __init__(self, widget: QWidget) -> None:
        self._widget = widget

    def __enter__(self) -> None:
        self._widget.blockSignals(True)

    def __exit__(self, *_: object) -> None:
        self._widget.blockSignals(False)


def _button(text: str, tooltip: str, slot: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(lambda: slot())
    return button


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _interval(spread: Spread) -> str:
    return f"{_number(spread.mean)} ({_number(spread.low)} to {_number(spread.high)})"


def _square(unit: str) -> str:
    return "px" if unit == "px" else f"{unit}²"


def _part(overlays: Overlays, workers: list[Any]) -> None:
    """Take a section that is gone out of everything that would call it."""
    for worker in workers:
        worker.quit()
    overlays.disconnect()
