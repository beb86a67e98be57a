"""Write an evaluation as files and as text."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.evaluation.scores import Evaluation, ImageScores
from latentfm_core.files.atomic import atomic_path
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.output.paths import printable

TABLE = "per_image.csv"
SUMMARY = "summary.json"
REPORT = "report.html"

LABELS = {
    "dice": "Dice of the mean mask",
    "iou": "IoU of the mean mask",
    "sample_dice": "Dice of single samples",
    "ged": "GED (squared)",
    "hm_iou": "HM-IoU",
    "diversity": "sample diversity (1 - IoU)",
    "mask_vae_dice": "Dice of the masks after the mask VAE",
    "ece": "ECE, mean over images",
    "dataset_ece": "ECE, all pixels together",
    "confidence_ece": "ECE of the confidence, all pixels",
    "brier": "Brier score",
    "error_auroc": "AUROC of pixel errors by 1 - confidence",
    "confidence": "mean confidence",
    "expected_dice": "expected Dice",
    "quality_error": "expected Dice, mean error",
    "quality_rank": "expected Dice and Dice, rank correlation",
    "domain_score": "domain score",
    "out_of_domain": "share of images out of domain",
}


def evaluation_files(folder: Path) -> list[Path]:
    """Return the files of an evaluation: table, summary, and the report if there is one."""
    return [folder / TABLE, folder / SUMMARY, folder / REPORT]


def write_evaluation(folder: Path, evaluation: Evaluation, facts: dict[str, Any]) -> None:
    """Write the table and the summary; the summary is renamed last.

    The report of an older evaluation is removed.

    Parameters
    ----------
    facts
        JSON values at the start of the summary: model, data, settings,
        command, versions.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    table, summary, report = evaluation_files(folder)
    with contextlib.ExitStack() as stack:
        # Contexts end in reverse order: what is entered first gets its name last.
        summary_file = stack.enter_context(atomic_path(summary))
        table_file = stack.enter_context(atomic_path(table))
        table_file.write_text(csv_text(evaluation), encoding="utf-8", newline="")
        content = json.dumps(facts | summary_values(evaluation), indent=2, allow_nan=False)
        summary_file.write_text(content + "\n", encoding="utf-8")
        for outdated in (report, summary):
            outdated.unlink(missing_ok=True)


def csv_text(evaluation: Evaluation) -> str:
    """Return one line per image or object, of its scores; a missing value is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(evaluation.columns)
    for score in evaluation.scores:
        writer.writerow([cell(score, column) for column in evaluation.columns])
    return stream.getvalue()


def cell(score: ImageScores, column: str) -> str:
    """Return a field of `ImageScores` as written to the table."""
    value = getattr(score, column)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return printable(str(value))


def summary_values(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics of the data set as JSON values; a missing one is null."""
    seconds = evaluation.values("seconds")
    return {
        "n_images": evaluation.n_images,
        **({"n_objects": len(evaluation.scores)} if evaluation.of_objects else {}),
        "n_references": sum(score.references for score in evaluation.scores),
        "nfe": evaluation.scores[0].nfe,
        "metrics": {name: _number(value) for name, value in evaluation.means().items()},
        **_over_images(evaluation),
        "n_error_auroc": len(evaluation.values("error_auroc")),
        "seconds_per_image": {
            "mean": float(np.mean(seconds)),
            "median": float(np.median(seconds)),
        },
        "reliability": _bins(evaluation.reliability, "mean_probability", "foreground"),
        "agreement": _bins(evaluation.agreement, "mean_confidence", "agreeing"),
    }


def _over_images(evaluation: Evaluation) -> dict[str, Any]:
    if not evaluation.of_objects:
        return {}
    means = evaluation.means_over_images().items()
    return {"metrics_over_images": {name: _number(value) for name, value in means}}


def _bins(bins: ReliabilityBins, score: str, frequency: str) -> dict[str, Any]:
    return {
        "pixels": [int(count) for count in bins.count],
        score: [_number(value) for value in bins.mean_probability],
        frequency: [_number(value) for value in bins.frequency],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def readable(evaluation: Evaluation, facts: dict[str, str]) -> str:
    """Return a readable table of two columns; `facts` come first."""
    values = summary_values(evaluation)
    rows = dict(facts) | {"images": str(values["n_images"])}
    unit = "object" if evaluation.of_objects else "image"
    if evaluation.of_objects:
        rows["objects"] = str(values["n_objects"])
    for name, label in LABELS.items():
        figure = values["metrics"][name]
        rows[label] = "-" if figure is None else f"{figure:.4f}"
        if name == "dice" and evaluation.of_objects:
            over = values["metrics_over_images"]["dice"]
            rows[f"{label}, each image counted once"] = f"{over:.4f}"
    seconds = values["seconds_per_image"]
    rows[f"seconds per {unit}"] = f"{seconds['mean']:.3f} (median {seconds['median']:.3f})"
    width = max(map(len, rows))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows.items())
