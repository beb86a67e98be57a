"""The labels of the annotation: areas, edits, names and protection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from latentfm_core.annotation.export import label_counts
from latentfm_core.annotation.formats import Space
from latentfm_core.annotation.labelled import label_name
from latentfm_core.measures.size import area as area_of
from napari_latentfm.annotation.autosave import Autosaver
from napari_latentfm.annotation.provenance import Facts, edited_by_plane, facts_of
from napari_latentfm.annotation.recovery import duration
from napari_latentfm.annotation.widgets import ask_name
from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import Plane, plane_index
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.ui.common import wrapped_text

EMPTY = "No annotation yet: take the mean mask or a hypothesis, or paint."
MEASURE_MS = 250


class AnnotationLabels(QWidget):
    """Lists the labels of the plane under review, measured in a thread after each edit.

    Attributes
    ----------
    reported
        Emitted with why a label cannot be named.
    about, list
        Edits of the annotation, and its labels.
    ask_name
        Called with a label and its name; returns another one, or None if cancelled.
    """

    reported = Signal(str)

    def __init__(self, session: ReviewSession, autosaver: Autosaver) -> None:
        super().__init__()
        self._session, self._autosaver = session, autosaver
        self._work = work = TaskQueue()
        self._timer = pause_timer(self, MEASURE_MS, self.renew)
        self.ask_name: Callable[[int, str], str | None] = partial(ask_name, self)
        self.about = wrapped_text("", Qt.TextFormat.RichText)
        self.list = LabelList()
        self.list.protected.connect(self._protect)
        self.list.to_name.connect(self.name_label)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.about)
        layout.addWidget(self.list)
        listen(self, autosaver.touched, self._on_touched)
        self.destroyed.connect(lambda: work.close())

    def renew(self) -> None:
        """Measure the annotation, and show it."""
        layer, reviewed = self._autosaver.layer, self._session.current
        if reviewed is None or layer is None:
            self.about.setText("" if reviewed is None else EMPTY)
            self.list.clear()
            return
        facts = facts_of(layer)
        if self._work.busy:
            self._timer.start()
        elif facts is not None:
            task = partial(measure, facts, layer.data, reviewed.plane)
            self._work.submit(task, partial(self._show, layer, facts))

    def name_label(self, label: int | None = None) -> None:
        """Ask for the name of a label, by default of the selected one.

        An empty name removes the user's name.
        """
        layer = self._autosaver.layer
        if layer is None:
            self.reported.emit(EMPTY)
            return
        number = int(layer.selected_label) if label is None else label
        if number < 1:
            self.reported.emit(
                "Label 0 is the background. Choose label 1 or higher in the layer controls."
            )
            return
        names, facts = record_of(layer).names, facts_of(layer)
        classes = () if facts is None else facts.origin.classes
        name = self.ask_name(number, label_name(classes, number, names))
        if name is None:
            return
        names.pop(number, None)
        if name:
            names[number] = name
        self._autosaver.mark()
        self.renew()
        self._session.renamed.emit()

    def _show(self, layer: Labels, facts: Facts, measured: Any) -> None:
        if layer is not self._autosaver.layer or not isinstance(measured, Measure):
            return
        edits = "1 edit" if facts.strokes == 1 else f"{facts.strokes} edits"
        time = duration(facts.seconds).replace(" ", "\u00a0")  # breaks lines before it only
        texts = [f"{edits} by hand", time]
        if measured.edited is not None:
            texts.insert(0, f"{measured.edited:,} px differ from the proposal")
        self.about.setText(f"<b>{escape(layer.name)}</b><br>{', '.join(texts)}")
        origin, protected = facts.origin, set(record_of(layer).protected)
        self.list.fill(measured.pixels, origin.classes, origin.space, protected, facts.names)

    def _on_touched(self) -> None:
        self._timer.start()

    def _protect(self, label: int, on: bool) -> None:
        if self._autosaver.layer is not None:
            protected = record_of(self._autosaver.layer).protected
            (protected.add if on else protected.discard)(label)


@dataclass(frozen=True)
class Measure:
    """Pixels by label on a plane, and pixels edited on all planes."""

    pixels: dict[int, int]
    edited: int | None


def measure(facts: Facts, data: Any, plane: Plane) -> Measure:
    """Count the labels of a plane, and the pixels that differ from proposals on all planes."""
    view = np.asarray(data[plane_index(plane)])
    edited = edited_by_plane(facts, data)
    return Measure(label_counts(view), sum(edited.values()) if edited else None)


class LabelList(QListWidget):
    """The labels of the plane with their areas; a checked one is never overwritten.

    Attributes
    ----------
    protected
        Emitted with a label, and whether it is protected now.
    to_name
        Emitted with the label of an entry that was double-clicked for naming.
    """

    protected = Signal(int, bool)
    to_name = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "Labels of this plane. Ticked labels are never overwritten by a proposal. "
            "Double-click one to name it."
        )
        self.itemDoubleClicked.connect(
            lambda item: self.to_name.emit(int(item.data(Qt.ItemDataRole.UserRole)))
        )
        self.setMaximumHeight(92)
        self.itemChanged.connect(self._on_item)

    def fill(
        self,
        pixels: dict[int, int],
        classes: Sequence[str],
        space: Space,
        checked: set[int],
        names: Mapping[int, str] | None = None,
    ) -> None:
        """Show the labels of the plane, and all protected and named ones."""
        names = names or {}
        with QSignalBlocker(self):
            self.clear()
            for label in sorted(pixels.keys() | checked | names.keys()):
                size = area(pixels.get(label, 0), space)
                text = f"{label}  {label_name(classes, label, names)}  {size}"
                item = QListWidgetItem(text, self)
                item.setData(Qt.ItemDataRole.UserRole, label)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
                state = Qt.CheckState.Checked if label in checked else Qt.CheckState.Unchecked
                item.setCheckState(state)

    def _on_item(self, item: QListWidgetItem) -> None:
        on = item.checkState() == Qt.CheckState.Checked
        self.protected.emit(int(item.data(Qt.ItemDataRole.UserRole)), on)


def area(pixels: int, space: Space) -> str:
    """Return an area in the units of the image, or in pixels if they are not known."""
    size = space.pixel_size()
    if size is None:
        return f"{pixels:,} px²"
    return f"{area_of(pixels, size.spacing):,.4g} {size.unit}²"
