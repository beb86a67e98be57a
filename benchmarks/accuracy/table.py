"""Markdown table of finished rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.runner import RESULT
from latentfm_core.errors import DatasetError
from latentfm_core.files.atomic import write_text

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("dice", "Dice", ".3f"),
    ("iou", "IoU", ".3f"),
    ("hd95", "HD95 (px)", ".1f"),
    ("sample_dice", "Dice of samples", ".3f"),
    ("ged", "GED", ".3f"),
    ("hm_iou", "HM-IoU", ".3f"),
    ("diversity", "diversity", ".3f"),
    ("ece", "ECE", ".4f"),
    ("brier", "Brier", ".4f"),
    ("error_auroc", "error AUROC", ".3f"),
    ("spearman", "Spearman", ".3f"),
    ("empty_samples", "empty samples", ".3f"),
    ("empty_references", "empty references", ".3f"),
    ("nfe", "NFE", ".0f"),
    ("seconds", "s / image", ".3f"),
    ("parameters", "parameters (M)", ".2f"),
)
"""Key, heading and format of each figure."""

COMMON = (
    "dataset",
    "split",
    "size",
    "budget",
    "clock",
    "batch_size",
    "samples",
    "limit",
    "val_limit",
)
"""Settings that rows must share to be compared; named under the table."""


def write_table(runs: Path, out: Path) -> str:
    """Write the table of all results below `runs` to `out`, and return it.

    Raises
    ------
    DatasetError
        If there is no result.
    """
    results = [json.loads(path.read_text("utf-8")) for path in sorted(runs.rglob(RESULT))]
    if not results:
        raise DatasetError(f"There is no {RESULT} below {runs}.")
    text = make_table(results)
    write_text(out, text)
    return text


def make_table(results: Sequence[dict[str, Any]]) -> str:
    """Return the table: a row for each label, seeds taken together.

    Several seeds show as mean ± standard deviation (n - 1).
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(results, key=_order):
        groups.setdefault(result["label"], []).append(result)
    headings = ["row", "seeds", *(heading for _, heading, _ in COLUMNS)]
    lines = [_line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
    for label, group in groups.items():
        seeds = {result["settings"]["seed"] for result in group}
        cells = [_cell(group, key, form) for key, _, form in COLUMNS]
        lines.append(_line([label.replace("|", "\\|"), str(len(seeds)), *cells]))
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def _order(result: dict[str, Any]) -> tuple[int, str, int]:
    place = ROWS.index(result["row"]) if result["row"] in ROWS else len(ROWS)
    return place, str(result["label"]), int(result["settings"]["seed"])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(group: Sequence[dict[str, Any]], key: str, form: str) -> str:
    values = [result["figures"].get(key) for result in group]
    known = [float(value) for value in values if value is not None]
    if not known:
        return "–"  # noqa: RUF001
    if key == "parameters":
        known = [value / 1e6 for value in known]
    mean = format(statistics.fmean(known), form)
    if len(known) == 1 or len(set(known)) == 1:
        return mean
    return f"{mean} ± {format(statistics.stdev(known), form)}"


def _notes(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the common settings of the rows, with a warning where they differ."""
    notes = []
    for key in COMMON:
        values = sorted({str(result["settings"].get(key)) for result in results})
        mark = "" if len(values) == 1 else " **(rows differ: not comparable)**"
        notes.append(f"{key} {', '.join(values)}{mark}")
    images = sorted({str(result["figures"]["images"]) for result in results})
    devices = sorted({str(result["device"]) for result in results})
    return [
        f"Settings: {'; '.join(notes)}.",
        f"Test images: {', '.join(images)}. Devices: {', '.join(devices)}.",
    ]
