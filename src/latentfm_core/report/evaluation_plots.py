"""Charts in the report of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from latentfm_core.evaluation.evaluate import Evaluation
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.report.charts import BLUE, ORANGE, Axis, Chart, fitted, legend
from latentfm_core.report.gallery import Gallery
from latentfm_core.report.page import figure, section, text
from latentfm_core.report.table import anchor

DICE_BINS = 20


def histogram_section(evaluation: Evaluation) -> str:
    """Return the histogram of Dice."""
    values = evaluation.values("dice")
    heights, edges = np.histogram(values, DICE_BINS, (0.0, 1.0))
    highest = Axis("images", 0, max(1, int(heights.max())) * 1.05)
    chart = Chart("Histogram of the Dice of all images", Axis("Dice of the mean mask"), highest)
    chart.bars(edges.tolist(), heights.tolist())
    bad, middle = sum(value < 0.7 for value in values), float(np.median(values))
    note = f"Median {middle:.3f}; {bad} of {len(values)} images below 0.7."
    return section("How good are the images?", figure(chart.svg(), note))


def quality_section(evaluation: Evaluation, gallery: Gallery) -> str:
    """Return the comparison of expected and measured Dice."""
    title = "Does it recognise bad images?"
    known = [n for n, s in enumerate(evaluation.scores) if not math.isnan(s.expected_dice)]
    scores = [evaluation.scores[index] for index in known]
    expected = [score.expected_dice for score in scores]
    if not expected:
        note = (
            "Not available: no image has an expected Dice. It needs several samples, a mean mask "
            "that is not empty or full, and an image like the training images."
        )
        return section(title, f"<p>{note}</p>")
    dice = [score.dice for score in scores]
    chart = Chart(
        "Dice of each image against what the model expects",
        fitted("expected Dice", expected),
        fitted("Dice of the mean mask", dice),
    )
    rows, step = set(gallery.rows()), -(-len(scores) // gallery.report.points)
    for index in range(0, len(scores), step):
        link = anchor(known[index]) if known[index] in rows else ""
        chart.point(expected[index], dice[index], BLUE, scores[index].name, link)
    rho = evaluation.quality_rank()
    note = f"Mean difference of expected and real Dice: {evaluation.quality_error():.3f}. "
    if math.isnan(rho):
        note += "Too few different images for a rank correlation."
    else:
        note += (
            f"Spearman's rank correlation {rho:.3f} over {len(scores)} images: 1 if the image of "
            "higher expected Dice is always the better one, 0 if there is no correlation."
        )
    if step > 1:
        note += f" Shown is every {step}th image."
    if silent := len(evaluation.scores) - len(scores):
        note += (
            f" {silent} without an expected Dice are left out: their mean mask is empty or full, "
            "or they are unlike the training images."
        )
    return section(title, figure(chart.svg(), note))


def reliability_section(evaluation: Evaluation, gallery: Gallery) -> str:
    """Return the reliability of probabilities and confidence, before and after calibration."""
    raw = (gallery.raw_reliability, gallery.raw_agreement) if gallery.calibrated else (None, None)
    probability = _reliability(
        "Mean probability", "share that is foreground", evaluation.reliability, raw[0]
    )
    confidence = _reliability(
        "Confidence", "share where mean mask and expert agree", evaluation.agreement, raw[1]
    )
    note = (
        "The dashed diagonal is perfect calibration: of the pixels at 0.8, eight in ten "
        "are right. Below it the model is overconfident, above it underconfident."
    )
    entries = [("current model", BLUE, "")]
    if gallery.calibrated:
        entries = [("calibrated", BLUE, ""), ("raw", ORANGE, "6 3")]
    both = f'<div class="grid">{probability}{confidence}</div>'
    return section("Can the numbers be trusted?", f"<p>{note}</p>{legend(entries)}{both}")


def _reliability(what: str, truth: str, bins: ReliabilityBins, raw: ReliabilityBins | None) -> str:
    chart = Chart(f"Reliability of the {what.lower()}", Axis(what.lower()), Axis(truth))
    chart.line([0, 1], [0, 1], "currentColor", "4 4")
    note = f"{what}: expected calibration error {bins.ece:.4f}"
    if raw is not None:
        _curve(chart, raw, ORANGE, "6 3")
        note += f", raw {raw.ece:.4f}"
    _curve(chart, bins, BLUE, "")
    return figure(chart.svg(), f"{text(note)}.{_as_table(truth, bins)}")


def _curve(chart: Chart, bins: ReliabilityBins, colour: str, dash: str) -> None:
    xs, ys = bins.mean_probability.tolist(), bins.frequency.tolist()
    chart.line(xs, ys, colour, dash)
    for x, y in zip(xs, ys, strict=True):
        chart.point(x, y, colour)


def _as_table(truth: str, bins: ReliabilityBins) -> str:
    """Return the points as a table, also for screen readers."""
    heads: Sequence[str] = ("pixels", "mean value", truth)
    head = "".join(f'<th scope="col" class="number">{text(word)}</th>' for word in heads)
    rows = "".join(
        f'<tr><td class="number">{int(count)}</td><td class="number">{mean:.4f}</td>'
        f'<td class="number">{share:.4f}</td></tr>'
        for count, mean, share in zip(
            bins.count, bins.mean_probability, bins.frequency, strict=True
        )
        if count
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<details><summary>the numbers</summary>{table}</details>"
