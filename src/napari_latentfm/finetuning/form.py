"""The controls of the learning panel; they know nothing of the viewer or the run."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
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
from napari_latentfm.sampling.form import DEVICES
from napari_latentfm.ui.choices import FOLDER_CHOICE, model_choices
from napari_latentfm.ui.common import narrow, push_button, wrapped_text

ANNOTATIONS = "latentfm_annotations"
"""Subfolder of the images in which accepted masks lie."""
DEFAULT_MINUTES = 5.0
MAX_MINUTES = 600.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def models_folder() -> Path:
    """Return where learned models are kept; it need not exist yet."""
    return data_folder() / "models"


def learned_models() -> list[str]:
    """Return the names of the models in `models_folder`."""
    return sorted(card.parent.name for card in models_folder().glob(f"*/{CARD}"))


def free_name(model: str) -> str:
    """Return a name for a model learned from `model` that no folder has yet."""
    base = re.sub(r"[^A-Za-z0-9._-]", "_", Path(model).name).lstrip("._-")[:80] or "model"
    folder, number = models_folder(), 1
    while (folder / (name := f"{base}-learned-{number}")).exists():
        number += 1
    return name


class FolderEdit(QWidget):
    """A line for a folder, and a button to choose it."""

    changed = QtSignal()

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = QLineEdit()
        self.line.setToolTip(tooltip)
        self.button = QPushButton("Browse…")
        self.button.setToolTip(f"Choose the folder. {tooltip}")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._choose)
        self.line.textChanged.connect(lambda _: self.changed.emit())

    def path(self) -> Path | None:
        """Return the folder, or None if none is given."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def set_path(self, path: Path | str) -> None:
        """Put a folder into the line."""
        self.line.setText(str(path))

    def _choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose a folder", self.line.text())
        if chosen:
            self.set_path(chosen)


class LearningForm(QWidget):
    """Choices, buttons, progress, curves and verdict."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        self.model.setToolTip("The model to learn from; it stays as it is, a copy is trained on.")
        self._offer_models()
        self.folder = FolderEdit("Folder that holds model.json and model.safetensors.")
        self.images = FolderEdit("Folder of images; those without a mask are left out.")
        self.masks = FolderEdit(
            "Folder of accepted masks with the images' names. Left empty: the folder "
            f"{ANNOTATIONS} beside the images, where accepted masks are kept."
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
        self.device.setToolTip("Where to train; auto takes a GPU if there is one.")

    def _make_buttons(self) -> None:
        self.start = push_button("Start", "Train a copy of the model with the accepted masks.")
        self.stop = push_button("Stop", "Stop within one step; what was learned is kept.")
        self.resume = push_button("Resume", "Go on with the run of this name that was stopped.")
        self.finish = push_button(
            "Make model", "Make a model of what the stopped run learned so far."
        )
        self.keep_new = push_button("Keep new", "Offer the new model in the sampling panel.")
        self.keep_old = push_button(
            "Keep old", "Go on with the old model; the new one stays in its folder."
        )

    def _make_report(self) -> None:
        self.progress = QProgressBar()
        self.progress.setToolTip("Training steps done.")
        self.progress.setRange(0, 1)
        self.status = _text("What goes on, or how the last run ended.")
        self.verdict = _text(
            "Dice of both models on images that were not trained on. The new model was chosen "
            "among its validations on the same images, which flatters it a little."
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
            ("New name", self.name),
            ("Device", self.device),
        ):
            choices.addRow(label, widget)
        column = QVBoxLayout(self)
        column.addLayout(choices)
        for row in ((self.start, self.stop), (self.resume, self.finish)):
            column.addLayout(_row(*row))
        for part in (self.progress, self.status, self.loss, self.dice, self.verdict):
            column.addWidget(part)
        column.addLayout(_row(self.keep_new, self.keep_old))
        disclaimer = _text("")
        disclaimer.setText(DISCLAIMER)
        column.addWidget(disclaimer)
        column.addStretch(1)

    def out(self) -> Path:
        """Return the folder of the new model.

        Raises
        ------
        ConfigError
            If the name cannot be one.
        """
        name = self.name.text().strip()
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a model. Use letters, digits, '.', '_' and '-', "
                "beginning with a letter or digit."
            )
        return models_folder() / name

    def masks_folder(self) -> Path | None:
        """Return the folder of masks: the one given, else the usual one of the images."""
        images = self.images.path()
        return self.masks.path() or (images / ANNOTATIONS if images else None)

    def model_source(self) -> str:
        """Return a bundled model's name or a folder.

        Raises
        ------
        ConfigError
            If no folder is given where one is wanted.
        """
        chosen = str(self.model.currentData())
        if chosen in bundled_models():
            return chosen
        if chosen != FOLDER_CHOICE:
            return str(models_folder() / chosen)
        folder = self.folder.path()
        if folder is None:
            raise ConfigError("No model folder is given. Choose one, or a bundled model.")
        return str(folder)

    def request(self, overrides: tuple[str, ...] = ()) -> LearningRequest:
        """Return the run that is asked for.

        Raises
        ------
        ConfigError
            If something is missing.
        """
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
        """Offer the models that have been learned meanwhile."""
        chosen = self.model.currentData()
        blocked = self.model.blockSignals(True)
        self.model.clear()
        self._offer_models()
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))
        self.model.blockSignals(blocked)

    def _offer_models(self) -> None:
        *bundled, folder = model_choices()
        for title, name in (*bundled, *((name, name) for name in learned_models()), folder):
            self.model.addItem(title, name)

    def suggest_name(self) -> None:
        """Put a free name for the new model into its line."""
        chosen = str(self.model.currentData())
        folder = self.folder.path()
        self.name.setText(free_name(str(folder or "model") if chosen == FOLDER_CHOICE else chosen))

    def choice_widgets(self) -> tuple[QWidget, ...]:
        """Return the controls that a run fixes."""
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


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _text(tooltip: str) -> QLabel:
    line = wrapped_text(tooltip)
    line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return line
