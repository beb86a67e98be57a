"""Section that previews hypotheses and takes one into the annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.errors import LatentFMError
from latentfm_core.uncertainty.contours import AGREEMENT_LEVELS
from latentfm_core.uncertainty.hypotheses import Hypothesis, Order, ordered
from napari_latentfm import preferences
from napari_latentfm.annotation.region import drawn_region
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.background.signals import listen
from napari_latentfm.background.thread_task import LatestTask
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.review.look_controls import LookControls
from napari_latentfm.review.overlays import CONTOUR_COLOURS, Overlays
from napari_latentfm.review.thumbnails import (
    HypothesisResult,
    ThumbnailStrip,
    search,
    tile,
)
from napari_latentfm.ui.common import narrow

NOTHING = "Nothing is under review. Draw samples of an image to see its hypotheses."
RENEWING = "A run is still in progress. Wait for its hypotheses, or cancel it."
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
    hypotheses
        The hypotheses in the order of the pictures.
    chosen
        The hypothesis that is previewed on the image, or None.
    """

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._overlays = Overlays(session)
        self._result: HypothesisResult | None = None
        self._task = LatestTask()
        self.hypotheses: tuple[Hypothesis, ...] = ()
        self.chosen: Hypothesis | None = None
        self._lay_out()
        listen(self, session.changed, self._on_changed)
        listen(self, session.taken, self._on_taken)
        self._overlays.removed.connect(self._on_removed)
        # Not a method of this widget, which is partly deleted when the signal is emitted.
        self.destroyed.connect(partial(_disconnect, self._overlays, self._task))
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
        if index >= 0 and self._is_renewing():
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
        self._take("replace", inside=True)

    def unite(self) -> None:
        """Add the hypothesis to the annotation."""
        self._take("union")

    def intersect(self) -> None:
        """Intersect the annotation with the hypothesis."""
        self._take("intersect")

    def _take(self, how: str, inside: bool = False) -> None:
        reviewed, session = self._session.current, self._session
        if reviewed is None or self._is_renewing():
            return
        if self.chosen is None:
            self._say("Choose a hypothesis first: click a picture, or press H.")
            return
        summary = reviewed.result.summary
        mask = summary.sample_masks[self.chosen.medoid]
        try:
            region = drawn_region(session) if inside else None
            if inside and (region is None or not region.any()):
                self._say("Draw a region around the part that you want to take, then try again.")
                return
            origin = f"sample {self.chosen.medoid}"
            changed = write_labels(session, mask, how, region, origin=origin)
        except LatentFMError as error:
            self._say(str(error))
        else:
            self._say(f"{changed:,} pixels of the annotation changed. Ctrl+Z undoes it.")

    def _is_renewing(self) -> bool:
        """Return whether other hypotheses are on their way, and say so."""
        if self._session.renewing:
            self._say(RENEWING)
        return self._session.renewing

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self._task.quit()
        # If it is None, the image may just be being removed: the layer list is busy then.
        self._overlays.hide("preview", later=reviewed is None)
        self._overlays.remove("contours", later=reviewed is None)
        self._result, self.chosen = None, None
        self._fill()
        self.setEnabled(reviewed is not None)
        self._say(NOTHING if reviewed is None else "Looking for hypotheses…")
        if reviewed is not None:
            self._task.start(partial(search, reviewed), self._on_report)

    def _on_report(self, result: HypothesisResult) -> None:
        if result.reviewed is not self._session.current:
            return
        if result.error is not None:
            self._say(f"No hypotheses: {result.error}")
        elif result.contours is not None:
            self._result = result
            self._toggle_contours()
        elif result.hypotheses:
            self._result = result
            self._fill()
            count = len(result.reviewed.result.summary.sample_masks)
            several = f"{len(self.hypotheses)} hypotheses among {count} samples."
            self._say(several if len(self.hypotheses) > 1 else f"All {count} samples look alike.")

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
        for button in self.take_buttons:
            button.setEnabled(self.chosen is not None)
        previous, following, hide = self.walk_buttons
        previous.setEnabled(bool(self.hypotheses))
        following.setEnabled(bool(self.hypotheses))
        hide.setEnabled(self.chosen is not None)

    def _toggle_contours(self) -> None:
        result = self._result
        if not self.contours.isChecked():
            self._overlays.remove("contours")
        elif result is not None and result.contours is not None:
            chosen = tuple(
                contour
                for contour in result.contours
                if contour.level not in self.levels or self.levels[contour.level].isChecked()
            )
            self._overlays.draw(result.reviewed, chosen)

    def _remember(self) -> None:
        order, contours = self.order.currentData(), self.contours.isChecked()
        levels = [level for level, box in self.levels.items() if box.isChecked()]
        preferences.put(SECTION, {"order": order, "contours": contours, "levels": levels})

    def _on_taken(self) -> None:
        """Hide proposals, so that the annotation is visible."""
        self.end_preview()
        self.view.look.show_plain(False)
        self.view.look.hide_proposals()

    def _on_removed(self, role: str) -> None:
        if role == "preview":
            self.chosen = None
            self._mark()
        else:
            self.contours.setChecked(False)

    def _say(self, text: str) -> None:
        self.status.setText(text)

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
        self.contours = QCheckBox("Contours of agreement")
        self.contours.setToolTip(
            "Lines around the pixels that 10, 50 and 90 % of the samples mark as foreground."
        )
        self.contours.setChecked(kept.get("contours") is True)
        self.contours.toggled.connect(self._toggle_contours)
        self.contours.toggled.connect(self._remember)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.levels = self._level_boxes(kept.get("levels"))
        self.view = LookControls(self._session)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for row in ((QLabel("Order"), self.order), (self.contours,), self.levels.values()):
            line = QHBoxLayout()
            for widget in row:
                line.addWidget(widget, 1 if widget is self.order else 0)
            line.addStretch()
            layout.addLayout(line)
        layout.insertWidget(1, self.strip)
        layout.insertLayout(2, self._walk_row())
        layout.insertLayout(3, self._take_grid())
        layout.addWidget(self.view)
        layout.addWidget(self.status)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def _level_boxes(self, kept: object) -> dict[float, QCheckBox]:
        boxes = {}
        for colour, level in zip(CONTOUR_COLOURS, AGREEMENT_LEVELS, strict=True):
            box = QCheckBox(f"{level:.0%}")
            picture = QPixmap(10, 10)
            picture.fill(QColor(colour))
            box.setIcon(QIcon(picture))
            box.setToolTip(
                f"The line around the pixels that {level:.0%} of the samples mark as foreground."
            )
            box.setChecked(not isinstance(kept, list) or level in kept)
            box.toggled.connect(self._toggle_contours)
            box.toggled.connect(self._remember)
            boxes[level] = box
        return boxes

    def _walk_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(3)
        self.walk_buttons = []
        for text, tooltip, walk in (
            ("Previous (Shift+H)", "Show the previous hypothesis on the image.", self.previous),
            ("Next (H)", "Show the next hypothesis on the image.", self.next),
            ("Hide (Q)", "Remove the hypothesis from the image.", self.end_preview),
        ):
            button = QPushButton(text)
            button.setToolTip(tooltip)
            button.clicked.connect(walk)
            self.walk_buttons.append(button)
            row.addWidget(button)
        return row

    def _take_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(3)
        self.take_buttons = []
        for number, (text, tooltip, take) in enumerate(
            [
                ("Take whole (W)", "Make this hypothesis the annotation.", self.take_whole),
                (
                    "In region (Shift+W)",
                    "Make this hypothesis the annotation inside the drawn region only.",
                    self.take_in_region,
                ),
                ("Union (U)", "Add this hypothesis to the annotation.", self.unite),
                (
                    "Intersect (Shift+U)",
                    "Keep only the part of the annotation that is also in this hypothesis.",
                    self.intersect,
                ),
            ]
        ):
            button = QPushButton(text)
            button.setToolTip(tooltip)
            button.clicked.connect(take)
            self.take_buttons.append(button)
            grid.addWidget(button, number // 2, number % 2)
        return grid


def _disconnect(overlays: Overlays, task: LatestTask) -> None:
    """Disconnect a deleted section."""
    task.quit()
    overlays.disconnect()
