"""Recovery bar and dialogs of the annotation section."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from psygnal import Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QInputDialog,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.annotation.formats import SUFFIXES
from latentfm_core.images.endings import image_name
from napari_latentfm import preferences
from napari_latentfm.annotation.recovery import Choice, Offer
from napari_latentfm.ui.common import as_plain, push_button, row_of, wrapped_text

SECTION = "annotation"
FILTERS = {
    ".tif": "TIFF with pixel size (*.tif *.tiff)",
    ".png": "PNG, one plane (*.png)",
    ".palette.png": "PNG with colours, one plane (*.palette.png)",
    ".nii.gz": "NIfTI (*.nii.gz *.nii)",
    ".coco.json": "COCO JSON, run lengths (*.coco.json)",
    ".polygons.json": "COCO JSON, polygons (*.polygons.json)",
    ".labelme.json": "LabelMe JSON (*.labelme.json)",
    ".dcm": "DICOM Segmentation (*.dcm)",
    ".csv": "Measurements, CSV (*.csv)",
}
MAX_CLASS_NAME = 60
AskFile = Callable[[Path], Path | None]
"""Called with a suggested path; returns the chosen one, or None if cancelled."""


class RecoveryBar(QFrame):
    """Offers an autosaved annotation with three buttons, without blocking."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = wrapped_text("")
        self.text.setObjectName("LatentFM question")
        self.recover = self._button(
            "Recover", "recover", "Restore it as the annotation. Ctrl+Z undoes this."
        )
        self.compare = self._button("Compare", "compare", "Show it as another layer first.")
        self.discard = self._button("Discard", "discard", "Delete it permanently.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(2)
        layout.addWidget(self.text)
        layout.addLayout(row_of(self.recover, self.compare, self.discard))
        self.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show all lines of the text, also in a dock that napari makes too low."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.text.setMinimumHeight(max(0, self.text.heightForWidth(self.text.width())))

    def show_offer(self, offer: Offer | None) -> None:
        """Show an offer; None hides the bar."""
        self.show_question("" if offer is None else offer.question)

    def show_question(self, text: str) -> None:
        """Show a question; ``""`` hides the bar."""
        self.text.setText(text)
        self._fit()
        self.setVisible(bool(text))

    def _button(self, text: str, choice: Choice, tooltip: str) -> QPushButton:
        return push_button(text, tooltip, lambda: self.chosen.emit(choice))


def suggested(image: str, folder: Path | None) -> Path:
    """Return the suggested file of an annotation: last folder and format, else `folder`."""
    last = preferences.get(SECTION)
    suffix = last.get("format") if last.get("format") in FILTERS else ".tif"
    parent = Path(str(last["folder"])) if last.get("folder") else folder or Path.home()
    return parent / f"{image_name(image) or 'image'}_annotation{suffix}"


def remember_choice(path: Path) -> None:
    """Remember folder and format of an export."""
    ending = _ending(path.name)
    kept = ending if ending in FILTERS else ".tif"
    preferences.put(SECTION, {"folder": str(path.parent), "format": kept})


def _ending(name: str) -> str:
    """Return the known suffix of a file name, or "" if it has none."""
    suffixes = [end for end in (*SUFFIXES, *FILTERS) if name.lower().endswith(end)]
    return max(suffixes, key=len, default="")


def ask_name(parent: QWidget, label: int, known: str) -> str | None:
    """Ask for the name of a label; return None if cancelled."""
    question = f"Name of label {label} (class names in COCO, LabelMe and CSV files):"
    text, taken = QInputDialog.getText(parent, "Name label", question, text=known)
    return " ".join(text.split())[:MAX_CLASS_NAME] if taken else None


def ask_save(parent: QWidget, suggestion: Path) -> Path | None:
    """Ask for the file of an export, and whether an existing one may be replaced."""
    first = FILTERS[_ending(suggestion.name)]
    name, chosen = QFileDialog.getSaveFileName(
        parent, "Export annotation", str(suggestion), ";;".join(FILTERS.values()), first
    )
    if not name:
        return None
    path = Path(_with_ending(name, first, chosen))
    if str(path) != name and path.exists() and not _may_replace(parent, path):
        return None
    return path


def _with_ending(name: str, first: str, chosen: str) -> str:
    """Return a file name with the suffix of the chosen format, unless another one was typed.

    Some systems keep the suggested suffix when another format is chosen.
    """
    ending = _ending(name)
    wanted = next((end for end, text in FILTERS.items() if text == chosen), ending)
    left = chosen != first and FILTERS.get(ending) == first
    if ending and not left:
        return name
    return (name.removesuffix(".json") if not ending else name[: -len(ending)]) + wanted


def _may_replace(parent: QWidget, path: Path) -> bool:
    """Ask about a changed file name; the dialog asked only about the original one."""
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    text = as_plain(f"{path.name} exists already. Replace it?")
    return QMessageBox.question(parent, "LatentFM", text, yes | no, no) == yes


def ask_open(parent: QWidget, suggestion: Path) -> Path | None:
    """Ask for the file of an annotation."""
    endings = " ".join(f"*{suffix}" for suffix in SUFFIXES)
    name, _ = QFileDialog.getOpenFileName(
        parent, "Open annotation", str(suggestion.parent), f"Annotations ({endings})"
    )
    return Path(name) if name else None
