"""Section that previews hypotheses and takes one into the annotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from napari.layers import Layer
from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSizePolicy, QVBoxLayout, QWidget

from latentfm_core.names import counted
from latentfm_core.uncertainty.hypotheses import Hypothesis, Order, ordered
from napari_latentfm import preferences
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.mean_mask import hidden_plane, mean_mask_layer
from napari_latentfm.annotation.merging import How
from napari_latentfm.annotation.taking import RENEWING, take_mask
from napari_latentfm.background.signals import listen
from napari_latentfm.background.thread_task import LatestTask
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.review.contour_controls import ContourControls
from napari_latentfm.review.hypothesis_buttons import HypothesisButtons
from napari_latentfm.review.look_controls import LookControls
from napari_latentfm.review.overlays import Overlays
from napari_latentfm.review.thumbnail_strip import ThumbnailStrip, tile
from napari_latentfm.review.thumbnails import HypothesisResult, search
from napari_latentfm.ui.common import narrow, row_of, wrapped_text

NOTHING = "No samples yet. Run the model to see the plausible outlines."
HIDDEN = "All overlays are hidden. Press 0 to see what would be accepted."
PREVIEWED = (
    "A hypothesis is shown, but the mean mask would be accepted. Press W to take the hypothesis, "
    "or Q to hide it."
)
SECTION = "hypotheses"
"""Section of the preferences."""
ORDER_NAMES: dict[Order, str] = {
    "weight": "most frequent first",
    "area": "largest first",
    "agreement": "nearest to the mean mask",
    "difference": "farthest from the mean mask",
}


class HypothesesSection(QWidget):
    """Shows the hypotheses of the result under review, and takes one into the annotation.

    Attributes
    ----------
    reported
        Emitted with how an action has ended; the section may be folded.
    """

    reported = Signal(str)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._overlays = Overlays(session)
        self._result: HypothesisResult | None = None
        self._task = LatestTask()
        self.hypotheses: tuple[Hypothesis, ...] = ()
        self.chosen: Hypothesis | None = None
        self._lay_out()
        listen(self, session.changed, self._on_changed)
        listen(self, session.taken, self._on_taken)
        listen(self, session.untaken, self._on_untaken)
        self._overlays.removed.connect(self._on_removed)
        overlays, task = self._overlays, self._task
        # Not methods of this widget, which is partly deleted when the signal is emitted.
        self.destroyed.connect(lambda: task.quit())
        self.destroyed.connect(lambda: overlays.disconnect())
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {
            "H": self.next,
            "Shift-H": self.previous,
            "Q": self.end_preview,
            "W": self.take_whole,
            "Shift-W": self.take_in_region,
            "U": self.unite,
            "Shift-U": self.intersect,
            **self.view.key_actions(),
        }

    def release(self) -> None:
        """Cancel the work and remove the layers of this section from the viewer."""
        self._task.quit()
        self._overlays.remove("preview", "contours")
        self.view.release()

    def choose(self, index: int) -> None:
        """Preview the hypothesis at an index of `hypotheses`; -1 ends the preview."""
        problem = RENEWING if self._session.renewing else hidden_plane(self._session)
        if index >= 0 and problem:
            self._report(problem)
            return
        reviewed = self._session.current
        if reviewed is None or not 0 <= index < len(self.hypotheses):
            self.chosen = None
            self._overlays.hide("preview")
        else:
            self.chosen = self.hypotheses[index]
            mask = reviewed.result.summary.sample_masks[self.chosen.medoid]
            self._overlays.preview(reviewed, mask)
        self._mark()

    def next(self) -> None:
        """Preview the next hypothesis, and the first after the last."""
        if self.hypotheses:
            self.choose((self._index() + 1) % len(self.hypotheses))

    def previous(self) -> None:
        """Preview the previous hypothesis, and the last before the first."""
        if self.hypotheses:
            self.choose((max(self._index(), 0) - 1) % len(self.hypotheses))

    def end_preview(self) -> None:
        """Remove the preview from the image."""
        self.choose(-1)

    def take_whole(self) -> None:
        """Make the hypothesis the annotation."""
        self._take("replace")

    def take_in_region(self) -> None:
        """Make the hypothesis the annotation inside the drawn region only."""
        self._take("replace", in_region=True)

    def unite(self) -> None:
        """Add the hypothesis to the annotation."""
        self._take("union")

    def intersect(self) -> None:
        """Intersect the annotation with the hypothesis."""
        self._take("intersect")

    def _take(self, how: How, in_region: bool = False) -> None:
        reviewed, session = self._session.current, self._session
        if reviewed is None:
            return
        if self.chosen is None:
            self._report("Choose a hypothesis first: click a picture, or press H.")
            return
        medoid = self.chosen.medoid
        mask = reviewed.result.summary.sample_masks[medoid]
        self._report(take_mask(session, mask, f"sample {medoid}", how, in_region))

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self._task.quit()
        # If it is None, the image may just be being removed: the layer list is busy then.
        self._overlays.hide("preview", later=reviewed is None)
        self._overlays.remove("contours", later=reviewed is None)
        self._result, self.chosen = None, None
        self._fill()
        self.setEnabled(reviewed is not None)
        self._show_message(NOTHING if reviewed is None else "Looking for hypotheses…")
        if reviewed is not None:
            self._task.start(partial(search, reviewed), self._on_report)

    def _on_report(self, result: HypothesisResult) -> None:
        if result.reviewed is not self._session.current:
            return
        if result.error is not None:
            self._show_message(f"No hypotheses: {result.error}")
        elif result.contours is not None:
            self._result = result
            self._draw_contours()
        elif result.hypotheses:
            self._result = result
            self._fill()
            count = len(result.reviewed.result.summary.sample_masks)
            several = f"{len(self.hypotheses)} hypotheses among {counted(count, 'sample')}."
            self._show_message(
                several if len(self.hypotheses) > 1 else f"All {count} samples look alike."
            )

    def _fill(self) -> None:
        result = self._result
        if result is None:
            self.hypotheses = ()
            self.strip.show_tiles([])
        else:
            by: Order = self.order.currentData()
            self.hypotheses = ordered(result.hypotheses, by)
            shown = zip(result.pictures, result.areas, strict=True)
            pictures = dict(zip(result.hypotheses, shown, strict=True))
            count = len(result.reviewed.result.summary.sample_masks)
            tiles = [tile(h, pictures[h][0], by, count, pictures[h][1]) for h in self.hypotheses]
            self.strip.show_tiles(tiles)
        self._mark()

    def _index(self) -> int:
        return -1 if self.chosen is None else self.hypotheses.index(self.chosen)

    def _mark(self) -> None:
        self.strip.mark(self._index())
        self.buttons.enable(bool(self.hypotheses), self.chosen is not None)

    def _draw_contours(self) -> None:
        result = self._result
        if not self.contours.shown.isChecked():
            self._overlays.remove("contours")
        elif result is not None and result.contours is not None:
            self._overlays.draw(result.reviewed, self.contours.chosen(result.contours))

    def _on_contours(self) -> None:
        self._draw_contours()
        self._remember()

    def _remember(self) -> None:
        preferences.put(SECTION, {"order": self.order.currentData(), **self.contours.state})

    def _on_taken(self) -> None:
        """Hide proposals, so that the annotation is visible."""
        self.end_preview()
        self.view.look.show_plain(False)
        self.view.look.hide_proposals()

    def _on_untaken(self) -> None:
        self.view.look.hide_proposals(False)

    def unclear(self, touched: bool, outlines: Sequence[Layer | None] = ()) -> str:
        """Return what to do if the screen does not show what would be accepted, or "".

        Parameters
        ----------
        touched
            Whether the annotation would be accepted, not the mean mask.
        outlines
            Layers with outlines that would be accepted, too.
        """
        if self.view.look.plain:
            return HIDDEN
        if self.chosen is not None and not touched:
            return PREVIEWED
        session = self._session
        shown = annotation_of(session, create=False) if touched else mean_mask_layer(session)
        return self.view.unseen((shown, *outlines))

    def _on_removed(self, role: str) -> None:
        if role == "preview":
            self.chosen = None
            self._mark()
        else:
            self.contours.shown.setChecked(False)

    def _show_message(self, text: str) -> None:
        self.status.setText(text)

    def _report(self, text: str) -> None:
        self._show_message(text)
        self.reported.emit(text)

    def _lay_out(self) -> None:
        self.order = narrow(QComboBox())
        for by, name in ORDER_NAMES.items():
            self.order.addItem(name, by)
        kept = preferences.get(SECTION)
        self.order.setCurrentIndex(max(0, self.order.findData(kept.get("order"))))
        self.order.setToolTip("Order of the pictures.")
        self.order.currentIndexChanged.connect(self._fill)
        self.order.currentIndexChanged.connect(self._remember)
        self.strip = ThumbnailStrip()
        self.strip.setToolTip("Groups of similar samples. H shows the next one on the image.")
        self.strip.chosen.connect(self.choose)
        self.contours = ContourControls(kept)
        self.contours.changed.connect(self._on_contours)
        self.status = wrapped_text("")
        self.view = LookControls(self._session)
        self.buttons = HypothesisButtons(self.key_actions())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        order = row_of(QLabel("Order"), self.order)
        order.setStretch(1, 1)
        layout.addLayout(order)
        layout.addWidget(self.strip)
        layout.addWidget(self.buttons)
        layout.addWidget(self.contours)
        layout.addWidget(self.view)
        layout.addWidget(self.status)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
