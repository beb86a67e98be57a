"""Calibration metrics for the probabilities and the confidence of pixels.

References
----------
G. W. Brier: Verification of forecasts expressed in terms of probability. Monthly Weather
Review 78 (1950).
M. P. Naeini, G. Cooper, M. Hauskrecht: Obtaining well calibrated probabilities using
Bayesian binning. AAAI 2015.
J. A. Hanley, B. J. McNeil: The meaning and use of the area under a receiver operating
characteristic (ROC) curve. Radiology 143 (1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.metrics.overlap import Float64
from latentfm_core.types import Bool, Float32

N_BINS = 15

_ROUNDING = 1e-5


@dataclass(frozen=True)
class ReliabilityBins:
    """Sums over pixels in equal-width bins of the foreground probability.

    Bins of several images add up, so that a data set's metric needs no stored pixels:
    ``total = sum((ReliabilityBins.of(p, y) for p, y in images), ReliabilityBins.empty())``.

    Attributes
    ----------
    count
        ``(B,)`` float64, pixels in each bin. Bin b holds b/B <= p < (b + 1)/B, the last
        one p = 1 too.
    probability
        ``(B,)`` float64, sum of their probabilities.
    foreground
        ``(B,)`` float64, how many of them are foreground in the reference.
    """

    count: Float64
    probability: Float64
    foreground: Float64

    @classmethod
    def empty(cls, n_bins: int = N_BINS) -> ReliabilityBins:
        """Return `n_bins` bins without pixels."""
        return cls(np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins))

    @classmethod
    def of(cls, probability: Float32, mask: Bool, n_bins: int = N_BINS) -> ReliabilityBins:
        """Bin the pixels of one image.

        Parameters
        ----------
        probability
            Foreground probability of each pixel, any shape.
        mask
            Reference, bool, of the same shape.

        Raises
        ------
        ValueError
            If the shapes differ, `mask` is not boolean or a probability is outside [0, 1].
        """
        values, truth = _checked(probability, mask)
        index = np.minimum((values * n_bins).astype(np.intp), n_bins - 1)
        weights = (np.ones_like(values), values, truth)
        return cls(
            *(np.bincount(index, weights=w, minlength=n_bins).astype(np.float64) for w in weights)
        )

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        """Return the sums over the pixels of both."""
        if self.count.shape != other.count.shape:
            raise ValueError("both must have the same number of bins")
        return ReliabilityBins(
            self.count + other.count,
            self.probability + other.probability,
            self.foreground + other.foreground,
        )

    @property
    def mean_probability(self) -> Float64:
        """``(B,)`` mean probability of each bin, NaN where it is empty (for diagrams)."""
        return _ratio(self.probability, self.count)

    @property
    def frequency(self) -> Float64:
        """``(B,)`` share of foreground in each bin, NaN where it is empty (for diagrams)."""
        return _ratio(self.foreground, self.count)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over pixels of |frequency - mean probability|.

        ECE = sum_b (n_b / n) |y_b - p_b|, in [0, 1]; NaN without pixels.
        """
        total = self.count.sum()
        gap = np.abs(self.foreground - self.probability).sum()
        return float(gap / total) if total else math.nan


def ece(probability: Float32, mask: Bool, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error of the foreground probability, in [0, 1].

    Equal-width bins (Naeini et al. 2015). Background and foreground share one scale, so that
    a pixel of probability 0.1 is calibrated when one in ten such pixels is foreground; this
    is not the metric for the confidence of the winning class.

    Raises
    ------
    ValueError
        As `ReliabilityBins.of`.
    """
    return ReliabilityBins.of(probability, mask, n_bins).ece


def brier(probability: Float32, mask: Bool) -> float:
    """Return the mean over pixels of (p - y)^2, y in {0, 1} (Brier 1950), in [0, 1].

    Raises
    ------
    ValueError
        If the shapes differ, `mask` is not boolean, a probability is outside [0, 1], or there
        are no pixels.
    """
    values, truth = _checked(probability, mask)
    if values.size == 0:
        raise ValueError("no pixels")
    return float(np.mean(np.square(values - truth)))


def error_auroc(confidence: Float32, prediction: Bool, mask: Bool) -> float | None:
    """Measure how well low confidence finds wrong pixels.

    The area under the ROC curve of the score 1 - confidence for the class "prediction and
    reference differ": the chance that a wrong pixel has less confidence than a right one,
    ties counting half (Hanley and McNeil 1982; computed from mid-ranks). 1 is perfect, 0.5
    is chance level.

    Parameters
    ----------
    confidence
        Any shape; only its order matters.
    prediction, mask
        bool, of the same shape.

    Returns
    -------
    float or None
        None when every pixel is right or every pixel is wrong: there is nothing to
        distinguish; leave the image out of a mean.

    Raises
    ------
    ValueError
        If shapes or dtypes are wrong, or a confidence is NaN.
    """
    if not confidence.shape == prediction.shape == mask.shape:
        raise ValueError(f"shapes differ: {confidence.shape}, {prediction.shape} and {mask.shape}")
    if prediction.dtype != np.bool_ or mask.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {prediction.dtype} and {mask.dtype}")
    if np.isnan(confidence).any():
        raise ValueError("confidence contains NaN")
    wrong = (prediction != mask).ravel()
    errors = int(np.count_nonzero(wrong))
    right = wrong.size - errors
    if errors == 0 or right == 0:
        return None
    # Imported here: it takes half a second.
    from scipy.stats import rankdata

    ranks = rankdata(-confidence.ravel())
    above = float(ranks[wrong].sum()) - errors * (errors + 1) / 2
    return float(above / (errors * right))


def _checked(probability: Float32, mask: Bool) -> tuple[Float64, NDArray[np.bool_]]:
    if probability.shape != mask.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {mask.shape}")
    if mask.dtype != np.bool_:
        raise ValueError(f"the reference must be boolean, got {mask.dtype}")
    values: Float64 = probability.ravel().astype(np.float64)
    if values.size and not (values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING):
        raise ValueError("probabilities must lie in [0, 1]")
    return np.clip(values, 0.0, 1.0), mask.ravel()


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Float64:
    result: Float64 = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result
