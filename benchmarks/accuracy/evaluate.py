"""Shared evaluation of all rows: threshold from validation, metrics from test images."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.baseline import Predictor
from benchmarks.accuracy.figures import Row, make_row
from latentfm_core.bars import is_quiet
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.evaluate import Case, score
from latentfm_core.metrics.overlap import dice
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.types import ImageInput, Summary
from latentfm_core.uncertainty.summary import summarise

logger = logging.getLogger(__name__)

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The mean-mask threshold, and the validation scores of the others."""

    value: float
    val_dice: float
    curve: dict[str, float]


def predict(predictor: Predictor, image: ImageInput, threshold: float) -> Summary:
    """Return the maps of an image.

    The single sample of a deterministic row has no variance. Its confidence is
    1 - 4 p (1 - p), which is 1 - 4 times the variance of a mask that is drawn with p.
    """
    summary = summarise(predictor.sample(image), threshold)
    if not predictor.deterministic:
        return summary
    p = summary.mean_probability
    return dataclasses.replace(summary, confidence=1 - 4 * p * (1 - p))


def fit_threshold(predictor: Predictor, cases: Iterable[Case], total: int) -> Threshold:
    """Choose the threshold in `THRESHOLDS` with the best mean Dice; ties go nearest 0.5.

    Raises
    ------
    DatasetError
        If there are no cases.
    """
    scores: list[list[float]] = []
    for case in tqdm(
        cases,
        total=total,
        desc="threshold",
        unit="image",
        mininterval=5.0,
        disable=is_quiet(logger),
    ):
        mean = predict(predictor, case.image, 0.5).mean_probability
        scores.append(
            [
                float(np.mean([dice(mean >= value, rater > 0) for rater in case.references]))
                for value in THRESHOLDS
            ]
        )
    if not scores:
        raise DatasetError("There is no validation image.")
    means = np.mean(scores, axis=0)
    best = max(range(len(THRESHOLDS)), key=lambda i: (means[i], -abs(THRESHOLDS[i] - 0.5)))
    curve = {str(value): float(m) for value, m in zip(THRESHOLDS, means, strict=True)}
    return Threshold(THRESHOLDS[best], float(means[best]), curve)


def evaluate(
    predictor: Predictor, cases: Iterable[Case], threshold: float, total: int
) -> tuple[list[Row], ReliabilityBins]:
    """Compare the row with all references, at the resolution of the images.

    Raises
    ------
    DatasetError
        If there are no cases.
    """
    rows: list[Row] = []
    bins = ReliabilityBins.empty()
    for case in tqdm(
        cases, total=total, desc="test", unit="image", mininterval=5.0, disable=is_quiet(logger)
    ):
        start = time.perf_counter()
        summary = predict(predictor, case.image, threshold)
        seconds = time.perf_counter() - start
        # Only LatentFM has a mask VAE ceiling.
        scores, part = score(summary, case, predictor.nfe, seconds, math.nan)
        bins = bins + part
        rows.append(make_row(scores, summary, case))
    if not rows:
        raise DatasetError("There is no test image.")
    return rows, bins
