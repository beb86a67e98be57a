"""Dialog for the export of a work list: format, target and measurements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QWidget,
)

from latentfm_core.measures.objects import PixelSize
from latentfm_core.worklist.accepted import ENDINGS, ONE_FILE, Format
from latentfm_core.worklist.state import WorkList
from napari_latentfm.ui.common import push_button

TITLES: dict[Format, str] = {
    "coco": "COCO JSON, run lengths (exact)",
    "coco-polygons": "COCO JSON, polygons",
    "labelme": "LabelMe JSON, one for each image",
    "tiff": "TIFF labels, with pixel size",
    "png": "PNG labels, grey",
    "palette": "PNG with a colour for each label",
    "nifti": "NIfTI labels",
    "csv": "Measurements (CSV)",
}
_OBJECTS = frozenset({"coco", "coco-polygons", "labelme", "csv"})


@dataclass(frozen=True)
class Wanted:
    """Options of an export: format, file or folder, and how objects are separated and measured."""

    kind: Format
    target: Path
    separate: bool = False
    size: PixelSize | None = None


class ExportDialog(QDialog):
    """Asks for format and target.

    Parameters
    ----------
    table
        Whether to export measurements; then there is no choice of a format.
    """

    def __init__(self, work: WorkList, table: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Measurements" if table else "Export all accepted")
        self._base = work.output
        self.format = QComboBox()
        for kind, title in TITLES.items():
            if (kind == "csv") == table:
                self.format.addItem(title, kind)
        self.format.setToolTip("Format of the files; the documentation page Export describes each.")
        self.target = QLineEdit()
        self.target.setMinimumWidth(320)
        self.target.setToolTip("Target of the export.")
        browse = push_button("…", "Choose the target.")
        browse.setFixedWidth(28)
        browse.clicked.connect(self._browse)
        self.separate = QCheckBox("Each connected piece is an object")
        self.separate.setToolTip(
            "For cells and similar objects. Otherwise all pieces of a label are one object."
        )
        self.pixel = QDoubleSpinBox()
        self.pixel.setDecimals(6)
        self.pixel.setRange(0, 1000)
        self.pixel.setSuffix(" mm")
        self.pixel.setSpecialValueText("unknown")
        self.pixel.setToolTip("Pixel size of images whose file does not contain it.")
        row = QHBoxLayout()
        row.addWidget(self.target)
        row.addWidget(browse)
        layout = QFormLayout(self)
        layout.addRow("Format", self.format)
        layout.addRow("Write to", row)
        layout.addRow("Objects", self.separate)
        layout.addRow("Pixel size", self.pixel)
        button = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(button.Ok | button.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addRow(buttons)
        self.format.currentIndexChanged.connect(self._take_format)
        self._take_format()

    @property
    def kind(self) -> Format:
        """The chosen format."""
        chosen: Format = self.format.currentData()
        return chosen

    def wanted(self) -> Wanted:
        """Return the chosen options."""
        side = self.pixel.value()
        size = PixelSize(side, side, "mm") if side > 0 else None
        target = Path(self.target.text().strip() or self._suggested())
        if self.kind in ONE_FILE and not target.name.lower().endswith(ENDINGS[self.kind]):
            target = target.with_name(target.name + ENDINGS[self.kind])
        separate = self.separate.isChecked() and self.kind in _OBJECTS
        return Wanted(self.kind, target, separate, size)

    def _suggested(self) -> Path:
        if self.kind == "csv":
            return self._base / "measurements.csv"
        name = {"coco": "coco.json", "coco-polygons": "coco_polygons.json"}.get(self.kind)
        return self._base / "export" / (name or self.kind)

    def _take_format(self, _index: int = 0) -> None:
        self.separate.setEnabled(self.kind in _OBJECTS)
        self.target.setText(str(self._suggested()))

    def _browse(self) -> None:
        given = self.target.text()
        if self.kind in ONE_FILE:
            path = QFileDialog.getSaveFileName(self, "Write to", given)[0]
        else:
            path = QFileDialog.getExistingDirectory(self, "Write to", given)
        if path:
            self.target.setText(path)


def ask_export(parent: QWidget, work: WorkList, table: bool) -> Wanted | None:
    """Ask for the options of an export; return None if it was cancelled."""
    dialog = ExportDialog(work, table, parent)
    return dialog.wanted() if dialog.exec() == QDialog.DialogCode.Accepted else None
