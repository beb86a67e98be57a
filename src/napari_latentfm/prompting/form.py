"""Controls of the Point section, independent of the viewer."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentfm.prompting.from_labels import CHOICES
from napari_latentfm.prompting.object_list import ObjectList
from napari_latentfm.ui.common import push_button, row_of, wrapped_text

TOOLS = {
    "box": ("Box (B)", "Drag a box around an object; the outlines follow at once."),
    "point": ("Point + (P)", "Click a place in the object."),
    "not_point": ("Point - (Shift+P)", "Click a place that is not part of the object."),
    "stroke": ("Stroke + (G)", "Paint over pixels that are certainly in the object."),
    "not_stroke": ("Stroke - (Shift+G)", "Paint over pixels that are certainly not in the object."),
}
"""Text and tooltip by name."""


class ModelNotice(QFrame):
    """Reports that the chosen model does not take prompts, and offers one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = wrapped_text("Whether the model takes prompts.")
        self.button = QPushButton()
        self.button.setToolTip("Choose a model that takes prompts.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.text)
        layout.addWidget(self.button)
        self.hide()

    def show_for(self, model: str, better: str | None) -> None:
        """Show the notice; `model` and `better`, the model to choose, are titles."""
        if better is None:
            self.text.setText(
                f"“{model}” does not take boxes, points or strokes. Choose the folder of a model "
                "that was trained with prompts."
            )
        else:
            self.text.setText(f"“{model}” does not take boxes or points. “{better}” does.")
            self.button.setText("Use that model")
            self.button.setToolTip(f"Switch to “{better}” and keep your marks.")
        self.button.setVisible(better is not None)
        self.show()


class PromptForm(QWidget):
    """Tools, list of objects, and status."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = {name: push_button(text, tip) for name, (text, tip) in TOOLS.items()}
        for tool in self.tools.values():
            tool.setCheckable(True)
        self._make_mark_controls()
        self._make_object_controls()
        self.objects = ObjectList()
        self.notice = ModelNotice()
        self.status = wrapped_text("Progress of the run, or its result.")
        self._below_objects = QVBoxLayout()
        self._lay_out()

    def _make_mark_controls(self) -> None:
        self.undo_button = push_button(
            "Undo mark", "Remove the last mark, as Ctrl+Z does on the layers of marks."
        )
        self.clear_button = push_button(
            "Clear", "Remove all marks of this object. Undo mark restores them."
        )
        self.labels_button = push_button(
            "Use a Labels layer",
            "Use the chosen label of the selected Labels layer as the rough mask of the object.",
        )
        self.labels_as = QComboBox()
        self.labels_as.addItems(CHOICES)
        self.labels_as.setToolTip(
            "Use the label as a rough mask of the object, or as strokes over parts of it. "
            "automatic: strokes if it is a thin scribble."
        )

    def _make_object_controls(self) -> None:
        self.new_button = push_button(
            "New object (Shift+O)", "Begin the next object, with a separate label."
        )
        self.delete_button = push_button(
            "Delete object",
            "Remove the object, its marks and its pixels in the annotation.",
        )
        self.take_button = push_button(
            "Take object",
            "Write the mean mask into the annotation with the object's own label, as Shift+M does.",
        )
        self.take_all_button = push_button(
            "Take all", "Write all objects of this plane into the annotation, each with its label."
        )
        self.cover = QCheckBox("May cover other labels")
        self.cover.setToolTip("Whether taking an object overwrites other labels of the annotation.")
        self.again_button = push_button(
            "Draw all again",
            "Redraw the samples of all objects on this plane, for example with another model.",
        )

    def hold(self, tool: str) -> None:
        """Show which tool is selected, "" for none."""
        for name, button in self.tools.items():
            button.setChecked(name == tool)

    def add_below_objects(self, *widgets: QWidget) -> None:
        """Add a row of controls for the current object below the list of objects."""
        self._below_objects.addLayout(row_of(*widgets))

    def show_message(self, text: str) -> None:
        """Show a text in the status line."""
        self.status.setText(text)

    def _lay_out(self) -> None:
        tools = QGridLayout()
        tools.setSpacing(3)
        tools.addWidget(self.tools["box"], 0, 0, 1, 2)
        for place, name in enumerate(("point", "not_point", "stroke", "not_stroke")):
            tools.addWidget(self.tools[name], 1 + place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(tools)
        layout.addLayout(row_of(self.labels_button, self.labels_as))
        layout.addLayout(row_of(self.undo_button, self.clear_button))
        layout.addWidget(self.notice)
        layout.addWidget(self.status)
        layout.addWidget(QLabel("Objects"))
        layout.addWidget(self.objects)
        layout.addLayout(self._below_objects)
        layout.addLayout(row_of(self.new_button, self.delete_button))
        layout.addLayout(row_of(self.take_button, self.take_all_button))
        layout.addWidget(self.cover)
        layout.addWidget(self.again_button)
