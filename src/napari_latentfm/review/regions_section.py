"""Section that reviews uncertain regions, and shows the spread of sizes of the samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from latentfm_core.colours import ROLE_COLOURS
from latentfm_core.uncertainty.regions import UncertainRegion, shape_of
from napari_latentfm.background.signals import listen
from napari_latentfm.background.thread_task import LatestTask
from napari_latentfm.layers.pixels import plane_spacing
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.review.camera import go_to
from napari_latentfm.review.histogram import Histogram
from napari_latentfm.review.overlays import Overlays
from napari_latentfm.review.regions_parts import MeasuredRegions, RegionTable, interval, measure
from napari_latentfm.review.reviewed_regions import ReviewedRegions
from napari_latentfm.sampling.status import describe_mask
from napari_latentfm.ui.common import push_button, row_of, wrapped_text
from napari_latentfm.ui.units import area_text, square

NOTHING = "No samples yet. Run the model to see where its samples disagree."
REGION_COLOUR = ROLE_COLOURS["uncertain region"]


class RegionsSection(QWidget):
    """Shows regions of low confidence and navigates between them.

    Attributes
    ----------
    resolved
        Ranks of the regions that the annotator has checked.
    here
        Rank of the region on screen; 0 for none.
    ticked
        Emitted when a region was ticked or unticked.
    """

    ticked = Signal()

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._overlays = Overlays(session, "uncertain region", REGION_COLOUR)
        self._task = LatestTask()
        self._measured: MeasuredRegions | None = None
        self._reviewed_regions = ReviewedRegions()
        self.regions: tuple[UncertainRegion, ...] = ()
        self.resolved: set[int] = set()
        self.here = 0
        self._lay_out()
        listen(self, session.changed, self._on_changed)
        overlays, task = self._overlays, self._task
        # Not methods of this widget, which is partly deleted when the signal is emitted.
        self.destroyed.connect(lambda: task.quit())
        self.destroyed.connect(lambda: overlays.disconnect())
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {"N": self.next, "Shift-N": self.previous, "J": self.resolve}

    def release(self) -> None:
        """Cancel the work and remove the outline from the viewer."""
        self._task.quit()
        self._overlays.remove("preview")

    def next(self) -> None:
        """Go to the next region, and to the first after the last."""
        if self.regions:
            self.visit(self.here % len(self.regions) + 1)

    def previous(self) -> None:
        """Go to the previous region, and to the last before the first."""
        if self.regions:
            self.visit((self.here - 2) % len(self.regions) + 1)

    def visit(self, rank: int) -> None:
        """Move camera and sliders to a region and outline it."""
        reviewed = self._session.current
        if reviewed is None or not 1 <= rank <= len(self.regions):
            return
        self.here = rank
        boxes = [region.box for region in self.regions]
        go_to(self._session.viewer, reviewed.layer, reviewed.plane, boxes, rank - 1)
        self._overlays.preview(reviewed, self.region_mask(rank))
        self.table.selectRow(rank - 1)
        self._count()

    def resolve(self) -> None:
        """Tick the region on screen and go to the next open one, or untick it."""
        if not self.here:
            self.next()
            return
        ticked = self.here not in self.resolved
        self.table.tick(self.here, ticked)
        count = len(self.regions)
        following = [(self.here + step - 1) % count + 1 for step in range(1, count)]
        unresolved = [rank for rank in following if rank not in self.resolved]
        if ticked and unresolved:
            self.visit(unresolved[0])

    def region_mask(self, rank: int) -> NDArray[np.bool_]:
        """Return the mask of a region of the table, ``(H, W)`` bool, with its fragments joined."""
        mask = shape_of(self._grid_mask(rank))
        if self._measured is None or self._measured.step == 1:
            return mask
        step, (height, width) = self._measured.step, self._measured.reviewed.plane.shape
        return np.asarray(mask.repeat(step, 0).repeat(step, 1)[:height, :width])

    def _grid_mask(self, rank: int) -> NDArray[np.bool_]:
        """Return the mask of a region of the table on the grid of the measurement."""
        if self._measured is None or self._measured.labels is None:
            raise IndexError(f"there is no region {rank}")
        return np.asarray(self._measured.labels == rank)

    def resolved_regions(self) -> list[dict[str, Any]]:
        """Return the checked regions of all planes of the image, also of earlier samples.

        They are JSON values for the provenance of an annotation.
        """
        reviewed = self._session.current
        return [] if reviewed is None else self._reviewed_regions.to_json(reviewed.layer)

    def recall(self, regions: Sequence[Mapping[str, Any]]) -> None:
        """Check regions that `resolved_regions` returned when an annotation was made."""
        reviewed = self._session.current
        if reviewed is not None and regions:
            self._reviewed_regions.recall(reviewed.layer, regions)
            self._restore_checks()

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self._task.quit()
        # If it is None, the image may just be being removed: the layer list is busy then.
        self._overlays.hide("preview", later=reviewed is None)
        self._measured, self.regions, self.here = None, (), 0
        self.resolved.clear()
        self._fill()
        self.setEnabled(reviewed is not None)
        self._show_message(NOTHING if reviewed is None else "Looking for uncertain regions…")
        if reviewed is not None:
            self._task.start(partial(measure, reviewed), self._on_measured)

    def _on_measured(self, measured: MeasuredRegions) -> None:
        if measured.reviewed is not self._session.current:
            return
        if measured.error is not None:
            self._show_message(f"No regions: {measured.error}")
        elif measured.labels is not None:
            self._measured, self.regions = measured, measured.regions
            self._restore_checks()

    def _restore_checks(self) -> None:
        """Tick the regions that were reviewed before."""
        measured = self._measured
        if measured is not None:
            layer, index = measured.reviewed.layer, measured.reviewed.plane.index
            self.resolved = {
                region.rank
                for region in self.regions
                if self._reviewed_regions.has(layer, index, region, self._grid_mask(region.rank))
            }
            self._fill()
            self._count()
        self.ticked.emit()

    def _fill(self) -> None:
        reviewed = self._session.current
        spacing, unit = ((1.0, 1.0), "px")
        if reviewed is not None:
            spacing, unit = plane_spacing(reviewed.layer, reviewed.plane)
        self.table.fill(self.regions, self.resolved, spacing, unit)
        self._fill_sizes()

    def _fill_sizes(self) -> None:
        measured = self._measured
        if measured is None or measured.area is None or measured.diameter is None:
            self.histogram.show_values(np.zeros(0))
            self.sizes.setText("")
            return
        reviewed = measured.reviewed
        _, unit = plane_spacing(reviewed.layer, reviewed.plane)
        self.histogram.show_values(measured.area.values, lambda value: area_text(value, unit))
        text = describe_mask(reviewed.layer, reviewed.plane, reviewed.result)
        self.sizes.setText(
            f"{text}\n"
            f"Samples, area: {interval(measured.area)} {square(unit)}\n"
            f"Samples, diameter: {interval(measured.diameter)} {unit}"
        )

    def _count(self) -> None:
        if not self.regions:
            self._show_message("The samples agree everywhere: no uncertain region.")
            return
        seen = f", number {self.here} on screen" if self.here else ""
        self._show_message(f"{len(self.resolved)} of {len(self.regions)} resolved{seen}.")

    def _on_tick(self, rank: int, on: bool) -> None:
        measured = self._measured
        if measured is None:
            return
        (self.resolved.add if on else self.resolved.discard)(rank)
        plane = measured.reviewed.layer, measured.reviewed.plane.index
        change = self._reviewed_regions.put if on else self._reviewed_regions.drop
        change(*plane, self.regions[rank - 1], self._grid_mask(rank))
        self._count()
        self.ticked.emit()

    def _show_message(self, text: str) -> None:
        self.status.setText(text)

    def _lay_out(self) -> None:
        self.sizes = wrapped_text(
            "Size of the mean mask; mean and 90% interval over the samples. The diameter is that "
            "of the largest piece."
        )
        self.histogram = Histogram()
        self.histogram.setToolTip(
            "Areas of the samples, from the smallest to the largest; the line is their mean."
        )
        self.table = RegionTable()
        self.table.ticked.connect(self._on_tick)
        self.table.chosen.connect(self.visit)
        self.previous_button = push_button(
            "Previous (Shift+N)", "Go to the previous uncertain region.", self.previous
        )
        self.next_button = push_button("Next (N)", "Go to the next uncertain region.", self.next)
        self.resolve_button = push_button(
            "Resolved (J)", "Tick the region on screen and go to the next open one.", self.resolve
        )
        self.status = wrapped_text("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.sizes, self.histogram, self.table):
            layout.addWidget(widget)
        layout.addLayout(row_of(self.previous_button, self.next_button))
        layout.addWidget(self.resolve_button)
        layout.addWidget(self.status)
