"""Measurements of objects as a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from latentfm_core.annotation.labelled import LabelledImage, check_read_back
from latentfm_core.files.atomic import atomic_path
from latentfm_core.measures.objects import measure_objects
from latentfm_core.output.paths import printable

COLUMNS = (
    *("image", "plane", "object", "label", "class", "pieces"),
    *("area_px", "diameter_px", "perimeter_px", "area", "diameter", "perimeter", "unit"),
    *("pixel_height", "pixel_width", "state", "flag", "note", "seconds"),
)
"""Area is in square units; sizes in a unit are empty if the pixel size is unknown."""

Row = dict[str, str]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def measured_rows(
    labelled: LabelledImage, facts: Mapping[str, str] | None = None, separate: bool = False
) -> list[Row]:
    """Return a row for each object of an image, or a single one if nothing is marked.

    Parameters
    ----------
    labelled
        The image; each plane of a stack is measured separately.
    facts
        Further columns: state, flag, note, seconds.
    separate
        Whether each connected piece is an object.
    """
    size = labelled.size
    base = {"image": labelled.image, **(facts or {})}
    if size is not None:
        base |= {"unit": size.unit, "pixel_height": _text(size.row), "pixel_width": ""}
        base["pixel_width"] = _text(size.column)
    rows: list[Row] = []
    for position in np.ndindex(labelled.labels.shape[:-2]):
        plane = " ".join(map(str, position))
        for measured in measure_objects(labelled.labels[position], size, separate):
            row = {
                **base,
                "plane": plane,
                "object": str(measured.number),
                "label": str(measured.label),
                "class": labelled.name(measured.label),
                "pieces": str(measured.pieces),
            }
            for end, sizes in (("_px", measured.pixels), ("", measured.physical)):
                if sizes is not None:
                    row[f"area{end}"] = _text(sizes.area)
                    row[f"diameter{end}"] = _text(sizes.diameter)
                    row[f"perimeter{end}"] = _text(sizes.perimeter)
            rows.append(row)
    return rows or [base | {"area_px": "0"}]


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write a table atomically, and read it back before it gets its name.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    lines = [[_safe(row.get(column, "")) for column in COLUMNS] for row in rows]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *lines])
    with atomic_path(path) as temporary:
        # With a byte order mark: without it, spreadsheets misread the µ.
        temporary.write_text(stream.getvalue(), encoding="utf-8-sig", newline="")
        with temporary.open(encoding="utf-8-sig", newline="") as again:
            check_read_back(path, list(csv.reader(again)) == [list(COLUMNS), *lines])


def _safe(text: str) -> str:
    """Return a cell as UTF-8 that no spreadsheet reads as a formula: names are untrusted."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: float) -> str:
    return f"{value:.6g}" if value < 1e6 else f"{value:.0f}"
