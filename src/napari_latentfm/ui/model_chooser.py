"""The choice of a model: a bundled one, one that was learned here, or any folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from latentfm_core.errors import ModelFolderError
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.model_io.file_names import CARD
from napari_latentfm.preferences import data_folder
from napari_latentfm.ui.choices import title_of
from napari_latentfm.ui.common import narrow
from napari_latentfm.ui.folder_edit import FolderEdit

FOLDER_CHOICE = "Folder…"
TOOLTIP = "A bundled model, or the folder of a model or ensemble from latentfm-train."


class ModelChooser(QWidget):
    """A list of models, with a line for a folder below it.

    Attributes
    ----------
    changed
        Emitted when another model is chosen, or the text of the folder changes.
    picked
        Emitted when the user has made a choice in the list, or of a folder.
    """

    changed = QtSignal()
    picked = QtSignal()

    def __init__(self, tooltip: str = TOOLTIP) -> None:
        super().__init__()
        self.box = narrow(QComboBox())
        self.box.setToolTip(tooltip)
        self.folder = FolderEdit(
            "Folder with model.json and model.safetensors.", "Choose the model folder", compact=True
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self.box)
        column.addWidget(self.folder)
        self.setFocusProxy(self.box)
        self._offer()
        self._on_changed()
        self.box.currentIndexChanged.connect(self._on_changed)
        self.folder.changed.connect(self._on_changed)
        self.box.activated.connect(lambda _: self.picked.emit())
        self.folder.chosen.connect(self.picked)

    def source(self) -> str | Path:
        """Return the name of a bundled model, or a folder.

        Raises
        ------
        ModelFolderError
            If a folder is chosen and its line is empty.
        """
        choice = str(self.box.currentData())
        if choice != FOLDER_CHOICE:
            return choice if choice in bundled_models() else Path(choice)
        folder = self.folder.path()
        if folder is None:
            raise ModelFolderError(
                "No model folder is given. Choose the folder that latentfm-train wrote, or a "
                "bundled model."
            )
        return folder

    def choose(self, source: str | Path) -> None:
        """Choose a bundled model by its name, or a folder."""
        self.refresh()
        in_list = self.box.findData(str(source)) >= 0
        self.restore(
            {"model": str(source)}
            if in_list
            else {"model": FOLDER_CHOICE, "model_folder": str(source)}
        )

    def refresh(self) -> None:
        """Offer models that were learned in the meantime."""
        chosen = self.box.currentData()
        with QSignalBlocker(self.box):
            self.box.clear()
            self._offer()
            self.box.setCurrentIndex(max(0, self.box.findData(chosen)))

    def state(self) -> dict[str, Any]:
        """Return the choice as JSON values, for `restore`."""
        folder = self.folder.line.text().strip()
        return {"model": self.box.currentData(), "model_folder": folder}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Restore a choice; a model that is no longer offered is ignored."""
        before, model = self.state(), str(kept.get("model", ""))
        if self.box.findData(model) < 0:
            self.refresh()
        row = self.box.findData(model)
        with QSignalBlocker(self.box), QSignalBlocker(self.folder):
            if "model_folder" in kept:
                self.folder.set_path(str(kept["model_folder"]))
            if row >= 0:
                self.box.setCurrentIndex(row)
        if self.state() != before:
            self._on_changed()

    def _offer(self) -> None:
        names = bundled_models()
        titles = [title_of(name) for name in names]
        for title, name in zip(titles, names, strict=True):
            # A list with two equal texts could not distinguish the models.
            self.box.addItem(title if titles.count(title) == 1 else f"{title} ({name})", name)
        for folder in learned_models():
            self.box.addItem(folder.name, str(folder))
        self.box.addItem(FOLDER_CHOICE, FOLDER_CHOICE)

    def _on_changed(self, _index: int = 0) -> None:
        self.folder.setVisible(self.box.currentData() == FOLDER_CHOICE)
        self.changed.emit()


def models_folder() -> Path:
    """Return the folder of models that were learned here, which need not exist yet."""
    return data_folder() / "models"


def learned_models() -> list[Path]:
    """Return the folders of the models in `models_folder`."""
    return sorted(card.parent for card in models_folder().glob(f"*/{CARD}"))
