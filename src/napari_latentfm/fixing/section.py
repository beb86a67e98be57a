"""Section for corrections of one label of the annotation: pieces, holes and outline."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.annotation.editing import LIMITS, Kind, Operation
from latentfm_core.annotation.labelled import label_name
from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.starting import NOTHING, annotation_to_paint, find_annotation
from napari_latentfm.background.signals import listen
from napari_latentfm.fixing.editor import LabelEditor
from napari_latentfm.fixing.tools import HINTS, PieceTool, PieceTools
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.stacking import activate
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.ui.common import push_button, wrapped_text

SMOOTH_SIZE = 8
STEP = 2
EMPTY = "No annotation yet. The first step takes the mean mask."
BESIDE = "There is no label here; nothing changed. Click inside a piece."


class FixSection(QWidget):
    """Fixes the selected label of the annotation on the plane on screen."""

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._layer: Labels | None = None
        self._end_following: Callable[[], None] = lambda: None
        self._image = ""
        self.editor, self.tools = LabelEditor(session), PieceTools(session, self)
        self._lay_out()
        listen(self, self.editor.reported, self._show_message)
        listen(self, self.editor.working, self._on_working)
        listen(self, self.tools.changed, self._on_tool)
        listen(self, self.tools.picked, self._on_picked)
        listen(self, session.changed, self._on_changed)
        for emitter in (
            session.viewer.layers.events.inserted,
            session.viewer.layers.events.removed,
        ):
            listen(self, emitter, self._on_changed)
        editor, tools = self.editor, self.tools
        # Not methods of this widget, which is partly deleted when the signal is emitted.
        self.destroyed.connect(lambda: tools.deactivate())
        self.destroyed.connect(lambda: editor.cancel())
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {
            "Shift-K": self.keep_piece,
            "Shift-D": self.remove_piece,
            "Shift-B": self.keep_largest,
            "Shift-F": self.fill_holes,
            "Shift-S": self.smooth,
            "9": self.grow,
            "8": self.shrink,
            "2": self.paint,
            "3": self.polygon,
            "E": self.erase,
        }

    def release(self) -> None:
        """End the mouse tool and cancel the running operation."""
        self.tools.deactivate()
        self.editor.cancel()

    def keep_piece(self) -> None:
        """Activate or end the tool that keeps the clicked piece."""
        self._take("keep")

    def remove_piece(self) -> None:
        """Activate or end the tool that removes clicked pieces."""
        self._take("remove")

    def keep_largest(self) -> None:
        """Remove all pieces of the label but the largest."""
        self._do("largest")

    def fill_holes(self) -> None:
        """Fill the holes of the label; other labels in them stay."""
        self._do("fill")

    def smooth(self) -> None:
        """Smooth the outline of the label."""
        self._do("smooth", self.smooth_size.value())

    def grow(self) -> None:
        """Grow the label."""
        self._do("grow", self.grow_size.value())

    def shrink(self) -> None:
        """Shrink the label."""
        self._do("shrink", self.grow_size.value())

    def paint(self) -> None:
        """Paint on the annotation with napari's brush."""
        self._by_hand("paint")

    def polygon(self) -> None:
        """Draw polygons on the annotation with napari's tool."""
        self._by_hand("polygon")

    def erase(self) -> None:
        """Erase on the annotation with napari's eraser."""
        self._by_hand("erase")

    def _by_hand(self, mode: str) -> None:
        try:
            activate(self._session.viewer, annotation_to_paint(self._session), mode)
        except LatentFMError as error:
            self.editor.reported.emit(str(error))

    def _do(self, kind: Kind, pixels: int = 0) -> None:
        self.editor.do(Operation(kind, pixels))

    def _take(self, tool: PieceTool) -> None:
        if self.tools.tool == tool:
            self.tools.deactivate()
            return
        try:
            layer, _ = find_annotation(self._session)
        except LatentFMError as error:
            self.editor.reported.emit(str(error))
            self._on_tool()
            return
        self.tools.take(tool, layer)

    def _on_picked(self, tool: PieceTool, at: tuple[int, ...]) -> None:
        try:
            layer, plane = find_annotation(self._session)
        except LatentFMError as error:
            self.editor.reported.emit(str(error))
            return
        inside = all(0 <= place < side for place, side in zip(at, layer.data.shape, strict=True))
        label = int(layer.data[at]) if inside else 0
        if not label:
            self.editor.reported.emit(BESIDE)
            return
        # The clicked piece says which label is meant.
        layer.selected_label = label
        row, column = (at[axis] for axis in plane.axes)
        self.editor.do(Operation(tool, at=(row, column)))
        if tool == "keep":
            # Only one piece is left, and the tool has no further use.
            self.tools.deactivate()

    def _on_tool(self) -> None:
        tool = self.tools.tool
        for name, button in self.tool_buttons.items():
            button.setChecked(name == tool)
        if tool is not None:
            self._show_message(HINTS[tool])
        elif self.status.text() in HINTS.values():
            self._show_message("")

    def _on_working(self, working: bool) -> None:
        # A range from 0 to 0 shows a busy indicator.
        self.progress.setRange(0, 0 if working else 1)
        self._session.work.set_running(self.editor.cancel, working)

    def _on_changed(self, _event: Any = None) -> None:
        reviewed = self._session.current
        layer = annotation_of(self._session, create=False)
        if layer is not self._layer:
            self.tools.deactivate()
            self._layer = layer
            self._end_following()
            self._end_following = lambda: None
            if layer is not None:
                selected = layer.events.selected_label
                self._end_following = listen(self, selected, self._describe)
        self.setEnabled(reviewed is not None)
        image = "" if reviewed is None else str(reviewed.layer.unique_id)
        if reviewed is None:
            self._show_message(NOTHING)
        elif image != self._image:
            self._show_message("")
        self._image = image
        self._describe()

    def _describe(self, _event: Any = None) -> None:
        reviewed, layer = self._session.current, self._layer
        if reviewed is None or layer is None:
            self.about.setText("" if reviewed is None else EMPTY)
            return
        label, classes = layer.selected_label, reviewed.result.samples.classes
        name = label_name(classes, label, record_of(layer).names)
        unnamed = label < 1 or name == f"label {label}"
        name = f"Label {label}" if unnamed else f"Label {label}, {name}"
        self.about.setText(f"<b>{escape(name)}</b> of {escape(layer.name)}")

    def _show_message(self, text: str) -> None:
        self.status.setText(text)

    def _lay_out(self) -> None:
        self.about = wrapped_text(
            "The selected label, which is corrected on this plane only.", Qt.TextFormat.RichText
        )
        self.status = wrapped_text("Result of the last operation.")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.progress.setRange(0, 1)
        self.progress.setToolTip("Operation in progress.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.about)
        for title, grid in (
            ("Pieces", self._piece_grid()),
            ("Outline", self._outline_grid()),
            ("By hand", self._hand_grid()),
        ):
            layout.addWidget(QLabel(title))
            layout.addLayout(grid)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)

    def _piece_grid(self) -> QGridLayout:
        self.tool_buttons: dict[PieceTool, QPushButton] = {
            "keep": push_button(
                "Keep one (Shift+K)",
                "Click a piece to keep; other pieces of its label are removed.",
                self.keep_piece,
            ),
            "remove": push_button("Remove (Shift+D)", "Click pieces to remove.", self.remove_piece),
        }
        for button in self.tool_buttons.values():
            button.setCheckable(True)
        self.largest_button = push_button(
            "Largest (Shift+B)", "Remove all pieces but the largest.", self.keep_largest
        )
        self.fill_button = push_button(
            "Fill holes (Shift+F)", "Fill the holes; other labels in them stay.", self.fill_holes
        )
        buttons = (*self.tool_buttons.values(), self.largest_button, self.fill_button)
        return _grid([[buttons[0], buttons[1]], [buttons[2], buttons[3]]])

    def _outline_grid(self) -> QGridLayout:
        self.smooth_size = _pixels(*LIMITS["smooth"], SMOOTH_SIZE, "Narrower details disappear.")
        self.grow_size = _pixels(
            *LIMITS["grow"], STEP, "Distance by which the label grows or shrinks."
        )
        self.smooth_button = push_button(
            "Smooth (Shift+S)", "Smooth the outline; each piece keeps its area.", self.smooth
        )
        self.grow_button = push_button("Grow (9)", "Grow, up to other labels.", self.grow)
        self.shrink_button = push_button("Shrink (8)", "Shrink the label.", self.shrink)
        return _grid(
            [
                [self.smooth_button, self.smooth_size],
                [self.grow_button, self.shrink_button, self.grow_size],
            ]
        )

    def _hand_grid(self) -> QGridLayout:
        tools = {"Brush (2)": self.paint, "Polygon (3)": self.polygon, "Eraser (E)": self.erase}
        self.hand_buttons = [push_button(key, str(do.__doc__), do) for key, do in tools.items()]
        return _grid([[*self.hand_buttons]])


def _grid(rows: list[list[QWidget]]) -> QGridLayout:
    grid = QGridLayout()
    grid.setSpacing(3)
    columns = max(len(row) for row in rows)
    for number, row in enumerate(rows):
        for column, widget in enumerate(row):
            # The last button of a short row fills the row.
            width = columns - column if column == len(row) - 1 else 1
            grid.addWidget(widget, number, column, 1, width)
    return grid


def _pixels(low: int, high: int, value: int, tooltip: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(" px")
    box.setToolTip(tooltip)
    return box
