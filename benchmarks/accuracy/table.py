"""Markdown table of finished rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.runner import PER_IMAGE, RESULT
from benchmarks.accuracy.significance import by_group, compare, over_seeds, read_figure
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


SIGNIFICANT = 0.05

FIGURES = ("dice", "ged")
"""Figures that are compared image by image."""

_HEADINGS = {key: heading for key, heading, _ in COLUMNS}


@dataclass(frozen=True)
class Pairing:
    """Choices for the paired comparison.

    Attributes
    ----------
    reference
        Label of the row that all others are compared with; None takes the first.
    figures
        Columns of ``per_image.csv``.
    groups
        Group of each image, such as its patient or video; images of one group are averaged
        before the test, because they are not independent.
    """

    reference: str | None = None
    figures: Sequence[str] = FIGURES
    groups: Mapping[str, str] = field(default_factory=dict)


def write_table(runs: Path, out: Path, pairing: Pairing | None = None) -> str:
    """Write the table of all results below `runs` to `out`, and return it.

    Raises
    ------
    DatasetError
        If there is no result, or no reference row.
    """
    paths = sorted(runs.rglob(RESULT))
    results = [json.loads(path.read_text("utf-8")) for path in paths]
    if not results:
        raise DatasetError(f"There is no {RESULT} below {runs}.")
    found = [
        (result, path.with_name(PER_IMAGE)) for result, path in zip(results, paths, strict=True)
    ]
    text = make_table(results) + make_comparison(found, pairing or Pairing())
    write_text(out, text)
    return text


def make_comparison(found: Sequence[tuple[dict[str, Any], Path]], pairing: Pairing) -> str:
    """Return the paired comparisons with the reference row; empty with a single row.

    Parameters
    ----------
    found
        Results with their ``per_image.csv``.

    Raises
    ------
    DatasetError
        If there is no such row, or a file lacks a figure.
    """
    files: dict[str, list[Path]] = {}
    for result, path in sorted(found, key=lambda pair: _order(pair[0])):
        files.setdefault(str(result["label"]), []).append(path)
    if len(files) < 2:
        return ""
    reference = pairing.reference or next(iter(files))
    if reference not in files:
        raise DatasetError(f"There is no row {reference!r}; there are {', '.join(files)}.")
    unit = "group" if pairing.groups else "image"
    lines = ["", f"Against `{reference}`, paired by {unit}, means over the seeds:", ""]
    heads = ["figure", "row", "difference", f"{unit}s higher", f"{unit}s lower", "p", "p (Holm)"]
    lines += [_line(heads), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
    for figure in pairing.figures:
        rows = {
            label: by_group(
                over_seeds([read_figure(path, figure) for path in paths]), pairing.groups
            )
            for label, paths in files.items()
        }
        for each in compare(rows, reference):
            mark = " *" if each.p_holm < SIGNIFICANT else ""
            cells = [_HEADINGS.get(figure, figure), each.label.replace("|", "\\|")]
            cells += [f"{each.difference:+.4f}", str(each.higher), str(each.lower)]
            lines.append(_line([*cells, f"{each.p:.2g}", f"{each.p_holm:.2g}{mark}"]))
    lines += [
        "",
        "Two-sided Wilcoxon signed-rank test, corrected by Holm's procedure for the rows of a "
        f"figure; * p < {SIGNIFICANT}.",
    ]
    return "\n".join(lines) + "\n"


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
