"""The controls of the work list."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.config import SAMPLE_SLIDER_MAX, SamplingConfig, sampling_settings
from latentfm_core.errors import LatentFMError
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.worklist.order import ordered, step, tally
from latentfm_core.worklist.state import WorkList
from napari_latentfm.ui.choices import bounds
from napari_latentfm.ui.common import push_button, row_of, top_label, wrapped_text
from napari_latentfm.ui.folder_edit import FolderEdit
from napari_latentfm.ui.model_chooser import ModelChooser
from napari_latentfm.worklist.reading_controls import ReadingControls
from napari_latentfm.worklist.table import ImageTable

NOTHING = "Nothing to mark"
"""Name of an image without foreground for a model with several classes."""
NO_LIST, NONE_ACCEPTED = "Open a folder first.", "Accept an image first."
EXPORTING = "Wait for the export that is running, or cancel it."
BY_NAME, BY_UNCERTAINTY = "by name", "most uncertain first"


class QueueForm(QWidget):
    """Controls, table and status line, independent of the viewer.

    Attributes
    ----------
    stand_in
        Returns the model to use in place of the chosen one for an image, or for any with None.
    open_asked
        Emitted when the folder is to be opened, and the model is known.
    """

    open_asked = QtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.stand_in: Callable[[str | Path, str | None], str | Path] = lambda source, _: source
        self._waits = False
        self._make_folders()
        self._make_sampling()
        self.reading = ReadingControls()
        self._make_list()
        self._make_buttons()
        self._make_status()
        self._lay_out()
        self.search.textChanged.connect(self.table.filter)
        self.model.changed.connect(self._take_model)
        self._take_model()
        for edit in self._folders.values():
            edit.chosen.connect(partial(self._on_folder, edit))
        self.model.picked.connect(lambda: self._waits and self.ask_to_open())
        self.open_button.clicked.connect(lambda: self.ask_to_open())

    def _make_folders(self) -> None:
        self._folders = {
            "Images": FolderEdit(
                "Folder of the images to annotate. It opens when you choose it, or press Enter.",
                "Choose the folder of images",
                "choose or type",
                compact=True,
            ),
            "Output": FolderEdit(
                "Folder for annotations and progress.",
                "Choose the folder for annotations",
                "in a subfolder of the images",
                compact=True,
            ),
        }
        self.folder_edit = self._folders["Images"]
        self.folder, self.output = (edit.line for edit in self._folders.values())
        self.open_button = push_button("Open", "Open the folder as a work list.")
        self.folder_edit.add(self.open_button)

    def _make_sampling(self) -> None:
        self.model = ModelChooser()
        self.n_samples = QSpinBox()
        self.n_samples.setRange(bounds("n_samples")[0], SAMPLE_SLIDER_MAX)
        self.n_samples.setToolTip("Number of plausible masks to draw for each image.")
        self.missing = wrapped_text("What has to be chosen before the folder can be opened.")
        self.missing.hide()

    def _make_list(self) -> None:
        self.search = QLineEdit()
        self.search.setToolTip("Show only rows that contain this text.")
        self.search.setPlaceholderText("filter")
        self.order = QComboBox()
        self.order.addItems([BY_NAME, BY_UNCERTAINTY])
        self.order.setToolTip("Order of the images.")
        self.skip = QCheckBox("Skip done")
        self.skip.setToolTip("Next, and opening a folder, skip images that are done.")
        self.skip.setChecked(True)
        self.table = ImageTable()

    def _make_buttons(self) -> None:
        self.previous = push_button(
            "Previous (PageUp)", "Save the annotation and open the previous image."
        )
        self.next = push_button("Next (PageDown)", "Save the annotation and open the next image.")
        self.reset = push_button(
            "Reset", "Mark the selected image as not started; files, note and time stay."
        )
        self.measure = push_button(
            "Measure uncertainty",
            "Draw samples of all images whose uncertainty is not known yet.",
        )
        self.export = push_button(
            "Export all accepted…", "Write the accepted annotations in formats of other programs."
        )
        self.sizes = push_button(
            "Measurements…", "Write area, diameter and perimeter of all accepted objects."
        )
        self.cancel = push_button("Cancel", "Stop at once; finished results are kept.")
        self._busy: set[str] = set()
        buttons = (self.previous, self.next, self.reset, self.measure, self.export, self.sizes)
        self._tips = {button: button.toolTip() for button in buttons}
        self._offer()

    def _make_status(self) -> None:
        self.bar = QProgressBar()
        self.bar.setToolTip("Progress of the background work.")
        self.bar.setMaximumHeight(12)
        self.bar.setTextVisible(False)
        self.tally = wrapped_text("Progress of the work list.")
        self.status = wrapped_text("Status of the open image.")

    @property
    def by_uncertainty(self) -> bool:
        """Whether the most uncertain image comes first."""
        return self.order.currentText() == BY_UNCERTAINTY

    def names(self, work: WorkList | None) -> list[str]:
        """Return the names of the images in the chosen order."""
        if work is None:
            return []
        return ordered(work.items(), "uncertainty" if self.by_uncertainty else "name")

    def neighbour(self, work: WorkList, current: str | None, by: int) -> str | None:
        """Return the next (`by` 1) or previous (-1) image to work on; None at the end."""
        # Previous always goes to the image before, which usually was just accepted.
        skip = self.skip.isChecked() and by > 0
        return step(self.names(work), work.items(), current, by, skip)

    def ask_to_open(self) -> bool:
        """Emit `open_asked`, or show that the model is missing and wait; return which."""
        try:
            self.settings()
        except LatentFMError as error:
            self._show_missing(f"⚠ {error} Then the images open.")
        else:
            self._show_missing("")
            self.open_asked.emit()
        return not self._waits

    def show_list(self, work: WorkList, current: str | None) -> None:
        """Show the images and the progress of a work list."""
        items = work.items()
        self.table.fill(self.names(work), items, current)
        self.tally.setText(str(tally(items)))
        self._offer()

    def show_busy(self, work: Literal["export", "samples"], busy: bool) -> None:
        """Show whether work that can be cancelled is running; another export has to wait."""
        self._busy = self._busy | {work} if busy else self._busy - {work}
        self._offer()

    def source(self, name: str | None = None) -> str | Path:
        """Return the model to use for an image, or for any: the chosen one, or its stand-in."""
        return self.stand_in(self.model.source(), name)

    def settings(self, name: str | None = None) -> SamplingConfig:
        """Return the sampling settings of the model to use for an image, or for any.

        Raises
        ------
        LatentFMError
            If the model does not exist.
        """
        base = read_card(resolve_model(self.source(name))).config.sampling
        return sampling_settings(
            base,
            n_samples=self.n_samples.value(),
            seed=SamplingConfig().seed,
            device=SamplingConfig().device,
        )

    def add_section(self, section: QWidget) -> None:
        """Add controls above the progress of the background work."""
        self._column.insertWidget(self._column.indexOf(self.bar), section)

    def _offer(self) -> None:
        """Enable the buttons that can be used now; the tooltips of others say why they cannot."""
        rows = self.table.rows
        done = any(item.state == "completed" for item in rows.items.values())
        for button, tip in self._tips.items():
            reason = "" if rows.names else NO_LIST
            if button in (self.export, self.sizes) and not reason:
                reason = EXPORTING if "export" in self._busy else "" if done else NONE_ACCEPTED
            button.setEnabled(not reason)
            button.setToolTip(f"{tip} {reason}".strip())
        self.cancel.setEnabled(bool(self._busy))

    def _on_folder(self, edit: FolderEdit) -> None:
        """Open a chosen folder, or the one that waits; an open one again with another output."""
        is_other_output = edit is self._folders["Output"] and bool(self.table.rows.names)
        if self._waits or is_other_output or edit is self.folder_edit:
            self.ask_to_open()

    def _show_missing(self, text: str) -> None:
        self._waits = bool(text)
        self.missing.setText(text)
        self.missing.setVisible(self._waits)

    def _take_model(self) -> None:
        self.missing.hide()
        try:
            config = read_card(resolve_model(self.source())).config
        except LatentFMError:
            self.empty_name = NOTHING
            return  # opening an image reports the error
        # An image without foreground is named after the model's class.
        classes = config.model.classes
        self.empty_name = f"No {classes[0]}" if len(classes) == 1 else NOTHING
        self.n_samples.setValue(min(config.sampling.n_samples, SAMPLE_SLIDER_MAX))

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        # In the order of the decisions: the list opens as soon as its folder is chosen.
        rows: tuple[tuple[str, QWidget], ...] = (
            ("Model", self.model),
            ("", self.missing),
            ("Samples", self.n_samples),
            *self._folders.items(),
        )
        for row, (title, widget) in enumerate(rows):
            if title:
                grid.addWidget(top_label(title) if widget is self.model else QLabel(title), row, 0)
            grid.addWidget(widget, row, 1)
        layout = self._column = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addWidget(self.reading)
        layout.addLayout(row_of(self.search, self.order))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.tally)
        layout.addLayout(row_of(self.previous, self.next))
        layout.addLayout(row_of(self.reset, self.skip))
        layout.addLayout(row_of(self.export, self.sizes))
        layout.addLayout(row_of(self.measure, self.cancel))
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
