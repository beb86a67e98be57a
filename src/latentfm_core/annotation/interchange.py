"""One annotation in a format of other programs, chosen by the ending of its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentfm_core.annotation.coco import CocoFile, Outline
from latentfm_core.annotation.dicom_seg import write_dicom_seg
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.labelme import write_labelme
from latentfm_core.annotation.table import measured_rows, write_table


def _coco(outline: Outline, path: Path, labelled: LabelledImage) -> None:
    file = CocoFile(outline)
    file.add(labelled)
    file.write(path)


ENDINGS: dict[str, Callable[[Path, LabelledImage], None]] = {
    ".coco.json": lambda path, labelled: _coco("rle", path, labelled),
    ".polygons.json": lambda path, labelled: _coco("polygons", path, labelled),
    ".labelme.json": write_labelme,
    ".dcm": write_dicom_seg,
    ".csv": lambda path, labelled: write_table(path, measured_rows(labelled)),
}
"""Writer of each file ending: atomic, and read back. These formats have no provenance."""


def ending_of(path: Path) -> str | None:
    """Return which of `ENDINGS` a file has, or None."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), None)
