"""Charts in the report of an evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from latentfm_core.evaluation.scores import Evaluation
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.report.charts import BLUE, ORANGE, Axis, Chart, fitted
from latentfm_core.report.gallery import Gallery, anchor
from latentfm_core.uncertainty.expected_dice import NOT_CALIBRATED

DICE_BINS = 20


@dataclass(frozen=True)
class Plot:
    """A chart and its caption.

    Attributes
    ----------
    chart
        The ``svg`` element; None if there is nothing to show.
    truth, points
        Of a reliability curve, its vertical axis and the pixels, mean value and share of each bin.
    """

    note: str
    chart: Markup | None = None
    truth: str = ""
    points: tuple[tuple[int, float, float], ...] = ()


def histogram(evaluation: Evaluation) -> Plot:
    """Return the histogram of Dice."""
    values = evaluation.values("dice")
    heights, edges = np.histogram(values, DICE_BINS, (0.0, 1.0))
    unit = "objects" if evaluation.of_objects else "images"
    highest = Axis(unit, 0, max(1, int(heights.max())) * 1.05)
    chart = Chart(f"Histogram of the Dice of all {unit}", Axis("Dice of the mean mask"), highest)
    chart.bars(edges.tolist(), heights.tolist())
    bad, middle = sum(value < 0.7 for value in values), float(np.median(values))
    note = f"Median {middle:.3f}; {bad} of {len(values)} {unit} below 0.7."
    return Plot(note, chart.svg())


def quality(evaluation: Evaluation, gallery: Gallery) -> Plot:
    """Return the comparison of expected and measured Dice."""
    known = [n for n, s in enumerate(evaluation.scores) if not math.isnan(s.expected_dice)]
    scores = [evaluation.scores[index] for index in known]
    expected = [score.expected_dice for score in scores]
    if not expected:
        note = (
            "Not available: no image has an expected Dice. It needs several samples, a mean mask "
            "that is not empty or full, and an image like the training images."
        )
        return Plot(note)
    dice = [score.dice for score in scores]
    chart = Chart(
        "Dice of each image against what the model expects",
        fitted("expected Dice", expected),
        fitted("Dice of the mean mask", dice),
    )
    rows, step = set(gallery.rows()), -(-len(scores) // gallery.report.points)
    for index in range(0, len(scores), step):
        link = anchor(known[index]) if known[index] in rows else ""
        chart.point(expected[index], dice[index], BLUE, scores[index].label, link)
    return Plot(_quality_note(evaluation, gallery, len(scores), step), chart.svg())


def _quality_note(evaluation: Evaluation, gallery: Gallery, count: int, step: int) -> str:
    rho = evaluation.quality_rank()
    note = f"Mean difference of expected and actual Dice: {evaluation.quality_error():.3f}. "
    if math.isnan(rho):
        note += "Too few different images for a rank correlation."
    else:
        note += (
            f"Spearman's rank correlation {rho:.3f} over {count} images: 1 if the image of "
            "higher expected Dice is always the better one, 0 if there is no correlation."
        )
    if not gallery.calibrated:
        note += f" It is {NOT_CALIBRATED}"
    if step > 1:
        note += f" Shown is every {step}th image."
    if silent := len(evaluation.scores) - count:
        note += (
            f" {silent} without an expected Dice are left out: their mean mask is empty or full, "
            "or they are unlike the training images."
        )
    return note


def reliabilities(evaluation: Evaluation, gallery: Gallery) -> list[Plot]:
    """Return the reliability of probabilities and confidence, before and after calibration."""
    raw = (gallery.raw_reliability, gallery.raw_agreement) if gallery.calibrated else (None, None)
    truth = "share where mean mask and expert agree"
    return [
        _reliability(
            "Mean probability", "share that is foreground", evaluation.reliability, raw[0]
        ),
        _reliability("Confidence", truth, evaluation.agreement, raw[1]),
    ]


def _reliability(what: str, truth: str, bins: ReliabilityBins, raw: ReliabilityBins | None) -> Plot:
    chart = Chart(f"Reliability of the {what.lower()}", Axis(what.lower()), Axis(truth))
    chart.line([0, 1], [0, 1], "currentColor", "4 4")
    note = f"{what}: expected calibration error {bins.ece:.4f}"
    if raw is not None:
        _curve(chart, raw, ORANGE, "6 3")
        note += f", raw {raw.ece:.4f}"
    _curve(chart, bins, BLUE, "")
    every = zip(bins.count, bins.mean_probability, bins.frequency, strict=True)
    points = tuple((int(n), float(mean), float(share)) for n, mean, share in every if n)
    return Plot(f"{note}.", chart.svg(), truth, points)


def _curve(chart: Chart, bins: ReliabilityBins, colour: str, dash: str) -> None:
    xs, ys = bins.mean_probability.tolist(), bins.frequency.tolist()
    chart.line(xs, ys, colour, dash)
    for x, y in zip(xs, ys, strict=True):
        chart.point(x, y, colour)
