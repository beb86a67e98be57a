"""The controls of the fine-tuning panel, independent of viewer and run."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.errors import ConfigError, ModelFolderError
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import DISCLAIMER, read_only_card
from napari_latentfm.finetuning.plot import BLUE, ORANGE, CurvePlot
from napari_latentfm.reading import learning_overrides
from napari_latentfm.sampling.controls import DEVICES
from napari_latentfm.ui.common import push_button, row_of, wrapped_text
from napari_latentfm.ui.folder_edit import FolderEdit
from napari_latentfm.ui.model_chooser import ModelChooser, models_folder

ANNOTATIONS = "latentfm_annotations"
"""Subfolder of the images with the accepted masks."""
START_TIP = "Train a copy of the model on the accepted masks."
STOPPED_TIP = "A stopped run has this name. Resume it with the same images, or change the name."
DEFAULT_MINUTES = 5.0
MAX_MINUTES = 600.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def free_name(model: str) -> str:
    """Return an unused name for a model that was fine-tuned from `model`."""
    base = re.sub(r"[^A-Za-z0-9._-]", "_", Path(model).name).lstrip("._-")[:80] or "model"
    folder, number = models_folder(), 1
    while (folder / (name := f"{base}-learned-{number}")).exists():
        number += 1
    return name


class LearningForm(QWidget):
    """Choices, buttons, progress, curves and verdict."""

    def __init__(self) -> None:
        super().__init__()
        self._make_choices()
        self._make_buttons()
        self._make_report()
        self._lay_out()
        self.model.changed.connect(self.suggest_name)
        self.images.changed.connect(self._show_default_masks)
        self.suggest_name()
        self._show_default_masks()

    def _make_choices(self) -> None:
        self.model = ModelChooser(
            "The model to start from. A copy of it is trained; the model itself does not change."
        )
        self.images = FolderEdit("Folder of images; images without a mask are ignored.")
        self.masks = FolderEdit(
            "Folder of masks named like the images. Leave it empty to use the accepted masks in "
            f"{ANNOTATIONS} next to the images."
        )
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0.1, MAX_MINUTES)
        self.minutes.setDecimals(1)
        self.minutes.setValue(DEFAULT_MINUTES)
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip("The training ends after this time at the latest.")
        self.name = QLineEdit()
        self.name.setToolTip("Name of the new model; no model is overwritten.")
        self.device = QComboBox()
        self.device.addItems(DEVICES)
        self.device.setToolTip("Device for training; auto uses a GPU if there is one.")

    def _make_buttons(self) -> None:
        self.start = push_button("Start", START_TIP)
        self.stop = push_button("Stop", "Stop within one step; the progress is kept.")
        self.resume = push_button("Resume", "Continue the stopped run of this name.")
        self.finish = push_button(
            "Make model", "Make a model from the last checkpoint of the stopped run."
        )
        self.keep_new = push_button(
            "Keep new", "Add the new model to the list of models, and use it."
        )
        self.keep_old = push_button(
            "Keep old", "Keep using the old model; the new one stays in its folder."
        )

    def _make_report(self) -> None:
        self.progress = QProgressBar()
        self.progress.setToolTip("Training steps done.")
        self.progress.setRange(0, 1)
        self.status = _text("Progress, or the result of the last run.")
        self.verdict = _text(
            "Dice of both models on held-out images. These images also selected the best epoch of "
            "the new model, so its score is slightly optimistic."
        )
        self.loss = CurvePlot("Loss", BLUE)
        self.loss.setToolTip("Training loss of each step; lower is better.")
        self.dice = CurvePlot("Held-out Dice", ORANGE, (0.0, 1.0), marks=True)
        self.dice.setToolTip(
            "Dice on the held-out images during training; dashed: the old model. 1 is perfect."
        )

    def _lay_out(self) -> None:
        choices = QFormLayout()
        choices.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, widget in (
            ("Model", self.model),
            ("Images", self.images),
            ("Masks", self.masks),
            ("Time", self.minutes),
            ("Name", self.name),
            ("Device", self.device),
        ):
            choices.addRow(label, widget)
        column = QVBoxLayout(self)
        column.addLayout(choices)
        for row in ((self.start, self.stop), (self.resume, self.finish)):
            column.addLayout(row_of(*row))
        for each in (self.progress, self.status, self.loss, self.dice, self.verdict):
            column.addWidget(each)
        column.addLayout(row_of(self.keep_new, self.keep_old))
        disclaimer = _text("")
        disclaimer.setText(DISCLAIMER)
        column.addWidget(disclaimer)
        column.addStretch(1)

    def out(self) -> Path:
        """Return the folder of the new model; raise `ConfigError` if its name is not valid."""
        name = self.name.text().strip()
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a model. Use letters, digits, '.', '_' and '-', "
                "beginning with a letter or digit."
            )
        return models_folder() / name

    def masks_folder(self) -> Path | None:
        """Return the given folder of masks, or else the default one next to the images."""
        images = self.images.path()
        return self.masks.path() or (images / ANNOTATIONS if images else None)

    def request(self, overrides: tuple[str, ...] = ()) -> LearningRequest:
        """Return the request for a run.

        Raises
        ------
        LatentFMError
            If something is missing, or the model cannot be read or is an ensemble.
        """
        images, masks = self.images.path(), self.masks_folder()
        if images is None or masks is None:
            raise ConfigError("No images are given. Choose the folder of the annotated images.")
        model = self.model.source()
        read_only_card(resolve_model(model))
        return LearningRequest(
            out=self.out(),
            model=str(model),
            images=images.resolve(),
            masks=masks.resolve(),
            minutes=self.minutes.value(),
            device=self.device.currentText(),
            overrides=(*learning_overrides(), *overrides),
        )

    def suggest_name(self) -> None:
        """Suggest an unused name for the new model."""
        try:
            model = str(self.model.source())
        except ModelFolderError:
            model = "model"  # no folder is chosen yet
        self.name.setText(free_name(model))

    def choice_widgets(self) -> tuple[QWidget, ...]:
        """Return the controls that are disabled during a run."""
        return (self.model, self.images, self.masks, self.minutes, self.name, self.device)

    def _show_default_masks(self) -> None:
        images = self.images.path()
        self.masks.line.setPlaceholderText(str(images / ANNOTATIONS) if images else ANNOTATIONS)


def _text(tooltip: str) -> QLabel:
    line = wrapped_text(tooltip)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return line
