"""``log.csv``: one row per epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.optional import best_effort
from latentfm_core.files.regular import check_regular
from latentfm_core.loggers.logger import Point

FORMATS = {"learning_rate": ".3g", "seconds": ".1f", "images_per_second": ".1f"}
"""Formats of columns; shares of the time have three digits, all other values five."""


class CsvTable:
    """Keeps one row per epoch; the whole file is replaced each time.

    Parameters
    ----------
    columns
        Its columns; other metrics are left out.
    """

    def __init__(self, path: Path, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
        self._path, self._columns = path, columns
        self.rows = rows

    def metrics(self, at: Point, values: Mapping[str, float]) -> None:
        """Add a row."""
        row: dict[str, Any] = {"stage": at.stage, "epoch": at.epoch, "step": at.step}
        row |= {name: format(value, _format_of(name)) for name, value in values.items()}
        self.rows.append(row)
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, self._columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        with best_effort(self._path), atomic_path(self._path) as temporary:
            temporary.write_bytes(stream.getvalue().encode())

    def picture(self, at: Point, name: str, path: Path) -> None:
        """Do nothing: a table has no pictures."""

    def close(self) -> None:
        """Do nothing: the file is complete after each row."""


def _format_of(name: str) -> str:
    share = name == "outside_network" or name.endswith("_share")
    return FORMATS.get(name, ".3f" if share else ".5f")


def read_table(path: Path, columns: Sequence[str]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Return columns and rows of an existing table; an older version had fewer columns.

    Without a readable table these are `columns` and no rows.
    """
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8", errors="replace")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        return reader.fieldnames or columns, list(reader)
    except (OSError, csv.Error):
        return columns, []
