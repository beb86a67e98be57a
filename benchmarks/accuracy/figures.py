"""Metrics missing in `latentfm_core.evaluation.evaluate`, and means over a data set.

References
----------
D. P. Huttenlocher, G. A. Klanderman, W. J. Rucklidge: Comparing images using the Hausdorff
distance. IEEE PAMI 15 (1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.stats import spearmanr

from latentfm_core.evaluation.evaluate import Case
from latentfm_core.evaluation.scores import ImageScores
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.types import Bool, Summary

BAND = (0.05, 0.95)
"""Mean probabilities between which a pixel counts as uncertain."""

MEANS = (
    "dice",
    "iou",
    "sample_dice",
    "ged",
    "hm_iou",
    "diversity",
    "brier",
    "error_auroc",
    "confidence",
)


@dataclass(frozen=True)
class Row:
    """Figures of one image.

    Attributes
    ----------
    scores
        Those of `latentfm_core.evaluation.evaluate.score`.
    hd95
        95 % Hausdorff distance of mean mask and references in pixels, mean over the raters.
    local_confidence
        `local_confidence` of the image.
    one_empty
        How many of its references make, with the mean mask, a pair of an empty and a filled
        mask.
    empty_samples, empty_references
        Shares of empty masks.
    """

    scores: ImageScores
    hd95: float
    local_confidence: float
    one_empty: int
    empty_samples: float
    empty_references: float


def make_row(scores: ImageScores, summary: Summary, case: Case) -> Row:
    """Return all figures of one image."""
    mask = np.asarray(summary.mean_mask > 0)
    references = np.asarray(case.references > 0)
    raters = references.any(axis=(1, 2))
    return Row(
        scores=scores,
        hd95=float(np.mean([hd95(mask, rater) for rater in references])),
        local_confidence=local_confidence(summary),
        one_empty=int(np.count_nonzero(raters != mask.any())),
        empty_samples=float(np.mean(~summary.sample_masks.any(axis=(1, 2)))),
        empty_references=float(np.mean(~raters)),
    )


def hd95(first: Bool, second: Bool) -> float:
    """Return the 95 % Hausdorff distance of two masks ``(H, W)`` in pixels.

    The larger of the two directed distances, each the 95th percentile over the border
    pixels of one mask of their distance to the border of the other. Two empty masks have
    distance 0; an empty and a filled one have the diagonal of the image, so that a missed
    lesion is never better than a badly drawn one.
    """
    if not first.any() and not second.any():
        return 0.0
    if not first.any() or not second.any():
        return math.hypot(*first.shape)
    borders = [mask & ~binary_erosion(mask) for mask in (first, second)]
    to_first, to_second = (distance_transform_edt(~border) for border in borders)
    there = np.percentile(to_second[borders[0]], 95)
    back = np.percentile(to_first[borders[1]], 95)
    return float(max(there, back))


def local_confidence(summary: Summary) -> float:
    """Return the mean confidence near a possible lesion.

    Over the pixels of the mean mask and those with a mean probability within `BAND`; the
    rest of the image is certain background and would only reflect the lesion's size. 1 if there is
    no such pixel.
    """
    mean = summary.mean_probability
    where = np.asarray(summary.mean_mask > 0) | ((mean >= BAND[0]) & (mean <= BAND[1]))
    return float(summary.confidence[where].mean(dtype=np.float64)) if where.any() else 1.0


def aggregate(rows: Sequence[Row], reliability: ReliabilityBins) -> dict[str, float | None]:
    """Return the figures of a data set; None where a figure is not defined.

    Means over images, but for ``ece`` (over all pixels), ``spearman`` (of
    `local_confidence` and Dice), ``seconds`` (the median) and the counts.
    """
    figures: dict[str, float] = {
        name: _mean([getattr(r.scores, name) for r in rows]) for name in MEANS
    }
    figures |= {
        "hd95": _mean([row.hd95 for row in rows]),
        "hd95_empty_pairs": sum(row.one_empty for row in rows),
        "ece": reliability.ece,
        "spearman": _rank_correlation(
            [row.local_confidence for row in rows], [row.scores.dice for row in rows]
        ),
        "local_confidence": _mean([row.local_confidence for row in rows]),
        "empty_samples": _mean([row.empty_samples for row in rows]),
        "empty_references": _mean([row.empty_references for row in rows]),
        "nfe": rows[0].scores.nfe,
        "seconds": float(np.median([row.scores.seconds for row in rows])),
        "images": len(rows),
    }
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan


def _rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    # scipy warns where one side is constant and there is nothing to correlate.
    if len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    return float(spearmanr(first, second).statistic)
