"""The controls of the fine-tuning panel, independent of viewer and run."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt
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

from latentfm_core.errors import ConfigError
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.model_io.card import CARD, DISCLAIMER
from napari_latentfm.finetuning.plot import BLUE, ORANGE, CurvePlot
from napari_latentfm.preferences import data_folder
from napari_latentfm.reading import learning_overrides
from napari_latentfm.sampling.controls import DEVICES
from napari_latentfm.ui.choices import FOLDER_CHOICE, model_choices, model_source
from napari_latentfm.ui.common import narrow, push_button, row_of, wrapped_text
from napari_latentfm.ui.folder_edit import FolderEdit

ANNOTATIONS = "latentfm_annotations"
"""Subfolder of the images with the accepted masks."""
START_TIP = "Train a copy of the model on the accepted masks."
STOPPED_TIP = "A stopped run has this name. Resume it with its own images, or change the name."
DEFAULT_MINUTES = 5.0
MAX_MINUTES = 600.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def models_folder() -> Path:
    """Return the folder of fine-tuned models, which need not exist yet."""
    return data_folder() / "models"


def learned_models() -> list[str]:
    """Return the names of the models in `models_folder`."""
    return sorted(card.parent.name for card in models_folder().glob(f"*/{CARD}"))


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
        self.model.currentTextChanged.connect(self._on_model)
        self.images.changed.connect(self._show_default_masks)
        self._on_model()
        self._show_default_masks()

    def _make_choices(self) -> None:
        self.model = narrow(QComboBox())
        self.model.setToolTip(
            "The model to start from. A copy of it is trained; the model itself does not change."
        )
        self._offer_models()
        self.folder = FolderEdit("Folder with model.json and model.safetensors.")
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
            "Keep new", "Add the new model to the choice of models, and use it."
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
        choices = self._choices = QFormLayout()
        choices.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for label, widget in (
            ("Model", self.model),
            ("Folder", self.folder),
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

    def model_source(self) -> str:
        """Return a bundled model's name or a folder; raise `ModelFolderError` without one."""
        chosen = str(self.model.currentData())
        if chosen in bundled_models():
            return chosen
        if chosen != FOLDER_CHOICE:
            return str(models_folder() / chosen)
        return str(Path(model_source(chosen, self.folder.line.text())).expanduser())

    def request(self, overrides: tuple[str, ...] = ()) -> LearningRequest:
        """Return the request for a run; raise `ConfigError` if something is missing."""
        images, masks = self.images.path(), self.masks_folder()
        if images is None or masks is None:
            raise ConfigError("No images are given. Choose the folder of the annotated images.")
        return LearningRequest(
            out=self.out(),
            model=self.model_source(),
            images=images.resolve(),
            masks=masks.resolve(),
            minutes=self.minutes.value(),
            device=self.device.currentText(),
            overrides=(*learning_overrides(), *overrides),
        )

    def refresh_models(self) -> None:
        """Offer models that were fine-tuned in the meantime."""
        chosen = self.model.currentData()
        with QSignalBlocker(self.model):
            self.model.clear()
            self._offer_models()
            self.model.setCurrentIndex(max(0, self.model.findData(chosen)))

    def _offer_models(self) -> None:
        *bundled, folder = model_choices()
        for title, name in (*bundled, *((name, name) for name in learned_models()), folder):
            self.model.addItem(title, name)

    def suggest_name(self) -> None:
        """Suggest an unused name for the new model."""
        chosen = str(self.model.currentData())
        folder = self.folder.path()
        self.name.setText(free_name(str(folder or "model") if chosen == FOLDER_CHOICE else chosen))

    def choice_widgets(self) -> tuple[QWidget, ...]:
        """Return the controls that are disabled during a run."""
        folders = (self.folder, self.images, self.masks)
        return (self.model, *folders, self.minutes, self.name, self.device)

    def _on_model(self) -> None:
        shown = self.model.currentData() == FOLDER_CHOICE
        self.folder.setVisible(shown)
        label = self._choices.labelForField(self.folder)
        if label is not None:
            label.setVisible(shown)
        self.suggest_name()

    def _show_default_masks(self) -> None:
        images = self.images.path()
        self.masks.line.setPlaceholderText(str(images / ANNOTATIONS) if images else ANNOTATIONS)


def _text(tooltip: str) -> QLabel:
    line = wrapped_text(tooltip)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return line
