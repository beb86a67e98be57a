"""The annotation section: edit, save, export, and open an annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal
from qtpy.QtCore import QEvent
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.files import AnnotationFiles
from napari_latentfm.annotation.keeper import keeper_of
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import Facts, facts_of, label_name
from napari_latentfm.annotation.recovery import duration
from napari_latentfm.annotation.region import drawn_region, region_layer
from napari_latentfm.annotation.widgets import (
    LabelList,
    Measure,
    RecoveryBar,
    ask_name,
    ask_open,
    ask_save,
    measure,
)
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.background.signals import listen
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.background.timers import pause_timer
from napari_latentfm.layers.annotation_record import MEAN_MASK, record_of
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.ui.common import push_button

NOTHING = "Nothing is under review. Draw samples of an image to annotate it."
RENEWING = "A run is still in progress. Wait for its mean mask, or cancel it."
EMPTY = "No annotation yet: take the mean mask or a hypothesis, or paint."
MEASURE_MS = 250


class AnnotationSection(QWidget):
    """Edits, saves and exports the annotation of the image under review.

    Attributes
    ----------
    finished
        Emitted after an export or an opening, with ``"done"``, ``"cancelled"`` or ``"failed"``.
    restored
        Emitted with the `AnnotationSidecar` of an annotation that was opened or recovered; it
        holds seed and sampling settings.
    autosaver, recovery, files
        Autosave, recovery after a crash, and export and opening of files.
    """

    finished = Signal(str)
    restored = Signal(object)

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._measuring = TaskQueue()
        self._image = ""
        self.ask_name: Callable[[int, str], str | None] = partial(ask_name, self)
        self._timer = pause_timer(self, MEASURE_MS, self._measure)
        self._lay_out()
        keeper = keeper_of(session, self)
        self.autosaver, self.recovery = keeper.autosaver, keeper.recovery
        self.files = AnnotationFiles(
            session, self.autosaver, self.recovery, partial(ask_save, self), partial(ask_open, self)
        )
        self.files.busy.connect(self._set_busy)
        self.files.ended.connect(self._on_file)
        self.files.opened.connect(self.restored.emit)
        listen(self, self.autosaver.kept, self._on_kept)
        listen(self, self.autosaver.failed, self._on_not_kept)
        listen(self, self.autosaver.touched, self._on_touched)
        listen(self, self.autosaver.watched, self._on_changed)
        listen(self, self.recovery.offered, self.bar.show_offer)
        listen(self, self.recovery.recovered, self._on_recovered)
        self.bar.show_offer(self.recovery.offer)
        self.bar.chosen.connect(self.recovery.answer)
        listen(self, session.changed, self._on_changed)
        queues = (self.files.work, self._measuring)
        self.destroyed.connect(lambda: _close(queues))
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {"Shift-M": self.take_mean_mask, "Shift-R": self.take_mean_mask_in_region}

    def release(self) -> None:
        """Save edits; the section stays usable if it is docked again."""
        self.autosaver.flush()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Save edits when the panel leaves its dock, or another tab is shown."""
        super().hideEvent(event)
        self.autosaver.flush()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Save edits when the section leaves its dock."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.autosaver.flush()

    def take_mean_mask(self) -> None:
        """Make the mean mask the annotation."""
        self._take(inside=False)

    def take_mean_mask_in_region(self) -> None:
        """Make the mean mask the annotation inside the drawn region only."""
        self._take(inside=True)

    def draw_region(self) -> None:
        """Draw a polygon around a part of the plane."""
        layer = region_layer(self._session)
        if layer is not None:
            self._session.viewer.layers.selection.active = layer
            layer.visible = True
            layer.mode = "add_polygon"
            self._say("Click the corners of the region; double-click to finish.")

    def clear_region(self) -> None:
        """Remove the shapes of the region on this plane."""
        layer, reviewed = region_layer(self._session, create=False), self._session.current
        if layer is None or reviewed is None:
            return
        fixed = reviewed.plane.fixed.items()
        here = {
            number
            for number, shape in enumerate(layer.data)
            if all(np.abs(np.asarray(shape)[:, axis] - at).max() < 0.5 for axis, at in fixed)
        }
        layer.selected_data = here
        layer.remove_selected()

    def paint(self) -> None:
        """Activate napari's brush on the annotation."""
        layer = annotation_of(self._session)
        if layer is not None:
            self._session.viewer.layers.selection.active = layer
            layer.visible = True
            layer.mode = "paint"

    def undo(self) -> None:
        """Undo the last change of the annotation."""
        if self.autosaver.layer is not None:
            self.autosaver.layer.undo()

    def redo(self) -> None:
        """Redo the last undone change."""
        if self.autosaver.layer is not None:
            self.autosaver.layer.redo()

    def export(self) -> None:
        """Ask for a file, and write the annotation and its provenance."""
        self.files.export()

    def open(self) -> None:
        """Ask for a file, and continue with its annotation."""
        self.files.open()

    def _take(self, inside: bool) -> None:
        reviewed = self._session.current
        if reviewed is None:
            self._say(NOTHING)
            return
        if self._session.renewing:
            self._say(RENEWING)
            return
        try:
            region = drawn_region(self._session) if inside else None
            if inside and (region is None or not region.any()):
                self._say("Draw a region first, then press Shift+R.")
                return
            mask = reviewed.result.summary.mean_mask
            changed = write_labels(self._session, mask, "replace", region, origin=MEAN_MASK)
        except LatentFMError as error:
            self._say(str(error))
        else:
            self._say(f"{changed:,} pixels of the annotation changed. Ctrl+Z undoes it.")

    def _on_recovered(self, sidecar: AnnotationSidecar) -> None:
        self._say("Recovered. Ctrl+Z undoes it.")
        self.restored.emit(sidecar)

    def _on_file(self, ending: str, text: str) -> None:
        self._say(text)
        if ending == "failed":
            show_error(text)
        self.finished.emit(ending)

    def _on_kept(self, when: str) -> None:
        self.kept.setText(f"autosaved {when}")

    def _on_not_kept(self, message: str) -> None:
        if self.kept.text() != "not saved":
            # Shown once: the user can continue, and saving is retried.
            show_warning(
                f"Autosave failed: {message} The annotation stays in this window; "
                "Export… saves it elsewhere."
            )
        self.kept.setText("not saved")
        self.kept.setToolTip(message)

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self.setEnabled(reviewed is not None)
        if reviewed is None:
            self._image = ""
            self._say(NOTHING)
            self.about.setText("")
            self.labels.clear()
            return
        if (image := str(reviewed.layer.unique_id)) != self._image:
            self._image = image
            self._say("")
        self._measure()

    def _on_touched(self) -> None:
        self._timer.start()

    def _measure(self) -> None:
        layer, reviewed = self.autosaver.layer, self._session.current
        if reviewed is None:
            return
        if layer is None:
            self.about.setText(EMPTY)
            self.labels.clear()
            return
        facts = facts_of(layer)
        if self._measuring.busy:
            self._timer.start()
        elif facts is not None:
            task = partial(measure, facts, layer.data, reviewed.plane)
            self._measuring.submit(task, partial(self._show, layer, facts))

    def _show(self, layer: Labels, facts: Facts, measured: Any) -> None:
        name = layer.name
        if layer is not self.autosaver.layer or not isinstance(measured, Measure):
            return
        texts = [f"{facts.strokes} edits by hand", duration(facts.seconds)]
        if measured.edited is not None:
            texts.insert(0, f"{measured.edited:,} px differ from the proposal")
        self.about.setText(f"<b>{name}</b><br>{', '.join(texts)}")
        origin, protected = facts.origin, set(record_of(layer).protected)
        self.labels.fill(measured.pixels, origin.classes, origin.space, protected, facts.names)

    def name_label(self, label: int | None = None) -> None:
        """Ask for the name of a label, by default of the selected one.

        An empty name removes the user's name.
        """
        layer = self.autosaver.layer
        if layer is None:
            self._say(EMPTY)
            return
        number = int(layer.selected_label) if label is None else label
        if number < 1:
            self._say("Label 0 is the background. Choose label 1 or higher in the layer controls.")
            return
        names, facts = record_of(layer).names, facts_of(layer)
        classes = () if facts is None else facts.origin.classes
        name = self.ask_name(number, label_name(classes, number, names))
        if name is None:
            return
        names.pop(number, None)
        if name:
            names[number] = name
        self.autosaver.mark()
        self._measure()

    def _protect(self, label: int, on: bool) -> None:
        if self.autosaver.layer is not None:
            protected = record_of(self.autosaver.layer).protected
            (protected.add if on else protected.discard)(label)

    def _set_busy(self, text: str) -> None:
        self.export_button.setEnabled(not text)
        self.open_button.setEnabled(not text)
        self._say(text)

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def _lay_out(self) -> None:
        self.bar = RecoveryBar()
        self.about, self.status, self.kept = QLabel(), QLabel(), QLabel()
        for label in (self.about, self.status, self.kept):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.kept.setToolTip(f"Unfinished annotations are saved in {autosave_folder()}.")
        self.labels = LabelList()
        self.labels.protected.connect(self._protect)
        self.labels.to_name.connect(self.name_label)
        grid = QGridLayout()
        grid.setSpacing(3)
        *pairs, paint, name = [push_button(*entry) for entry in self._buttons()]
        grid.addWidget(paint, 2, 0)
        grid.addWidget(name, 2, 1)
        for number, button in enumerate(pairs):
            grid.addWidget(button, number // 2 + (number > 3), number % 2)
        self.export_button, self.open_button = pairs[-2:]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.bar)
        layout.addWidget(self.about)
        layout.addWidget(self.labels)
        layout.addLayout(grid)
        layout.addWidget(self.status)
        layout.addWidget(self.kept)

    def _buttons(self) -> list[tuple[str, str, Callable[[], None]]]:
        return [
            ("Mean mask (Shift+M)", "Make the mean mask the annotation.", self.take_mean_mask),
            (
                "In region (Shift+R)",
                "Make the mean mask the annotation inside the drawn region only.",
                self.take_mean_mask_in_region,
            ),
            ("Draw region", "Draw a polygon to which proposals are limited.", self.draw_region),
            ("Clear region", "Remove the region of this plane.", self.clear_region),
            ("Undo (Ctrl+Z)", "Undo the last change of the annotation.", self.undo),
            ("Redo (Ctrl+Shift+Z)", "Redo the last undone change.", self.redo),
            ("Export…", "Write the annotation and its provenance to files.", self.export),
            ("Open annotation…", "Continue with an annotation from a file.", self.open),
            ("Paint", "Paint on the annotation with napari's brush.", self.paint),
            ("Name label…", "Name the selected label.", self.name_label),
        ]


def _close(queues: tuple[TaskQueue, ...]) -> None:
    """Finish an export; the window is closed."""
    for queue in queues:
        queue.close()
