"""The report of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.evaluation.noise_scale import NOISE_SCALES
from latentfm_core.evaluation.scores import Evaluation
from latentfm_core.files.atomic import write_text
from latentfm_core.output.tables import LABELS, REPORT, TABLE, cell
from latentfm_core.report.charts import BLUE, DASHES, ORANGE
from latentfm_core.report.evaluation_plots import histogram, quality, reliabilities
from latentfm_core.report.gallery import Gallery, anchor
from latentfm_core.report.page import render, short
from latentfm_core.report.pictures import confidence_colours
from latentfm_core.report.words import HEADS, MEANING, MORE_MEANING

EXPERT, MEAN, SAMPLE = "#009e73", "#56b4e9", "#e69f00"
"""Okabe-Ito; mean and samples as in the viewer's layers."""
GREY = "#888888"
_SOURCES = {
    "expert": (EXPERT, DASHES[0]),
    "mean mask": (MEAN, DASHES[1]),
    "samples": (SAMPLE, DASHES[2]),
}
"""Colours of lines, and their dashes if the classes have their own colours."""

CAUTION = (
    "Research use only; not a medical device. This page shows the images, their names and the "
    "command with its paths: share it only if this is allowed."
)


def write_report(
    folder: Path, evaluation: Evaluation, gallery: Gallery, metadata: dict[str, Any]
) -> None:
    """Write ``report.html`` into the folder of an evaluation.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_text(folder / REPORT, evaluation_page(evaluation, gallery, metadata))


def evaluation_page(evaluation: Evaluation, gallery: Gallery, metadata: dict[str, Any]) -> str:
    """Return the report as HTML; for the parameters see `write_report`."""
    count = len(evaluation.scores)
    current = [("current model", BLUE, "")]
    both = [("calibrated", BLUE, ""), ("raw", ORANGE, "6 3")]
    return render(
        "evaluation.html.j2",
        title=f"Evaluation of {metadata['model']['id']}",
        caution=CAUTION,
        count=count,
        unit="object" if evaluation.of_objects else "image",
        n_images=evaluation.n_images,
        raters=max(score.references for score in evaluation.scores),
        headline=_headline(evaluation),
        cases={
            "Worst cases": [_case(i, evaluation, gallery) for i in gallery.worst()],
            "Best cases": [_case(i, evaluation, gallery) for i in gallery.best()],
        },
        case_legend=_case_legend(gallery),
        lines=_lines(gallery),
        confidence_colours=confidence_colours(np.linspace(0, 1, 21, dtype=np.float32)).tolist(),
        histogram=histogram(evaluation),
        quality=quality(evaluation, gallery),
        reliabilities=reliabilities(evaluation, gallery),
        reliability_legend=both if gallery.calibrated else current,
        columns=[_column(name) for name in evaluation.columns],
        rows=[_row(index, evaluation, gallery) for index in gallery.rows()],
        table_file=TABLE,
        made=_made(evaluation, metadata),
    )


def _lines(gallery: Gallery) -> dict[str, list[tuple[str, str]]]:
    """Return, for each source of outlines, the colour and dashes of each class.

    The colour shows the source and the dashes the class; if the classes have their own colours,
    the other way round.
    """
    if gallery.colours:
        return {
            source: [(colour, dash) for colour in gallery.colours]
            for source, (_, dash) in _SOURCES.items()
        }
    dashes = [DASHES[k % len(DASHES)] for k in range(len(gallery.classes))]
    return {source: [(colour, dash) for dash in dashes] for source, (colour, _) in _SOURCES.items()}


def _case_legend(gallery: Gallery) -> list[tuple[str, str, str]]:
    """Return name, colour and dashes of each line of the legend."""
    lines = _lines(gallery)
    if gallery.colours:
        sources = [(source, GREY, dash) for source, (_, dash) in _SOURCES.items()]
        classes = zip(gallery.classes, gallery.colours, strict=True)
        return sources + [(name, colour, "") for name, colour in classes]
    sources = [(source, colour, "") for source, (colour, _) in _SOURCES.items()]
    if len(gallery.classes) == 1:
        return sources
    dashed = zip(gallery.classes, lines["expert"], strict=True)
    return sources + [(name, GREY, dash) for name, (_, dash) in dashed]


def _headline(evaluation: Evaluation) -> list[dict[str, str]]:
    means = evaluation.means()
    return [
        {
            "name": name,
            "label": label,
            "mean": "-" if np.isnan(means[name]) else f"{means[name]:.4f}",
            "middle": _middle(evaluation, name),
            "meaning": MEANING[name],
        }
        for name, label in LABELS.items()
    ]


def _case(index: int, evaluation: Evaluation, gallery: Gallery) -> dict[str, Any]:
    link = anchor(index) if index in gallery.rows() else ""
    return {
        "score": evaluation.scores[index],
        "pictures": gallery.pictures(index),
        "anchor": link,
    }


def _column(name: str) -> dict[str, str]:
    meaning = MEANING.get(name) or MORE_MEANING[name]
    kind = "text" if name == "name" else "number"
    return {"meaning": meaning, "kind": kind, "head": HEADS[name]}


def _row(index: int, evaluation: Evaluation, gallery: Gallery) -> dict[str, Any]:
    score = evaluation.scores[index]
    values = {column: getattr(score, column) for column in evaluation.columns}
    cells = [
        (cell(score, column), short(value) if isinstance(value, float) else value)
        for column, value in values.items()
    ]
    return {"anchor": anchor(index), "thumbnail": gallery.thumbnail(index), "cells": cells}


def _middle(evaluation: Evaluation, name: str) -> str:
    values = evaluation.values(name) if name in evaluation.columns else []
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
        "noise scale": _noise_scale(settings["noise_scale"]),
        "ODE": f"{settings['steps']} {settings['solver']} steps",
        "device": settings["device"],  # names the precision too
        f"seconds per {'object' if evaluation.of_objects else 'image'}, median": f"{seconds:.3f}",
        "left out": ", ".join(data["left_out"]) or "none",
        "created": metadata["created"],
        "command": metadata["command"],
        "versions": ", ".join(f"{name} {number}" for name, number in metadata["versions"].items()),
    }
    return {name: str(value) for name, value in rows.items()}


def _noise_scale(scale: float | None) -> str:
    if scale is None:
        return "that of the model"
    if scale not in (NOISE_SCALES[0], NOISE_SCALES[-1]):
        return f"{scale:g}"
    return f"{scale:g}, an end of the range of latentfm-calibrate: the best may lie beyond it"
