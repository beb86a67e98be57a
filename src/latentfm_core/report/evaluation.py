"""The report of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.evaluation.evaluate import COLUMNS, Evaluation
from latentfm_core.files.atomic import write_text
from latentfm_core.output.tables import LABELS, REPORT
from latentfm_core.report.cases import cases_section
from latentfm_core.report.evaluation_plots import (
    histogram_section,
    quality_section,
    reliability_section,
)
from latentfm_core.report.gallery import Gallery
from latentfm_core.report.page import document, facts, section, text
from latentfm_core.report.table import table_section
from latentfm_core.report.words import MEANING

CAUTION = (
    "Research use only; not a medical device. This page shows the images, their names and the "
    "command with its paths: share it only where these are allowed."
)


def write_report(
    folder: Path, evaluation: Evaluation, gallery: Gallery, metadata: dict[str, Any]
) -> None:
    """Write ``report.html`` into the folder of an evaluation.

    Parameters
    ----------
    gallery
        Pictures of every image of `evaluation`, in order.
    metadata
        Facts that are also in the summary.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_text(folder / REPORT, evaluation_page(evaluation, gallery, metadata))


def evaluation_page(evaluation: Evaluation, gallery: Gallery, metadata: dict[str, Any]) -> str:
    """Return the report as HTML; for the parameters see `write_report`."""
    parts = [
        f"<p>{text(CAUTION)}</p>\n",
        section("Headline figures", _headline(evaluation)),
        cases_section("Worst cases", gallery.worst(), evaluation, gallery),
        cases_section("Best cases", gallery.best(), evaluation, gallery),
        histogram_section(evaluation),
        quality_section(evaluation, gallery),
        reliability_section(evaluation, gallery),
        table_section(evaluation, gallery),
        section("How it was made", facts(_made(evaluation, metadata))),
    ]
    return document(f"Evaluation of {metadata['model']['id']}", "".join(parts))


def _headline(evaluation: Evaluation) -> str:
    count, means = len(evaluation.scores), evaluation.means()
    raters = max(score.references for score in evaluation.scores)
    head = "".join(
        f'<th scope="col"{more}>{word}</th>'
        for word, more in (
            ("figure", ""),
            ("mean", ' class="number"'),
            ("middle half of the images", ""),
            ("what it means", ""),
        )
    )
    rows = "".join(
        f'<tr><th scope="row">{text(label)}</th><td class="value" data-metric="{name}">'
        f"{_number(means[name])}</td><td>{_middle(evaluation, name)}</td>"
        f"<td>{text(MEANING[name])}</td></tr>\n"
        for name, label in LABELS.items()
    )
    outlines = "one expert" if raters == 1 else f"up to {raters} experts"
    note = f"{count} image{'' if count == 1 else 's'}, each compared with {outlines}."
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody>\n</table>"
    return f'<p>{note}</p>\n<div class="wide">{table}</div>'


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def _middle(evaluation: Evaluation, name: str) -> str:
    values = evaluation.values(name) if name in COLUMNS else []
    if len(values) < 4:
        return ""
    low, high = np.percentile(values, (25, 75))
    return f"{low:.3f} to {high:.3f}"


def _made(evaluation: Evaluation, metadata: dict[str, Any]) -> dict[str, str]:
    settings, data = metadata["settings"], metadata["data"]
    seconds = float(np.median(evaluation.values("seconds")))
    rows = {
        "model": f"{metadata['model']['id']} (weights SHA-256 {metadata['model']['sha256']})",
        "part of the split": data["part"] or "all images",
        "samples": f"{settings['n_samples']}, seed {settings['seed']}",
        "ODE": f"{settings['steps']} {settings['solver']} steps",
        "device": f"{settings['device']}, {settings['precision']}",
        "seconds per image, median": f"{seconds:.3f}",
        "left out": ", ".join(data["left_out"]) or "none",
        "created": metadata["created"],
        "command": metadata["command"],
        "versions": ", ".join(f"{name} {number}" for name, number in metadata["versions"].items()),
    }
    return {name: str(value) for name, value in rows.items()}
