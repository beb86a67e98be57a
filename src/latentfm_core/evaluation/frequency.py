"""Frequency of an event as a function of a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from latentfm_core.metrics.overlap import Float64
from latentfm_core.types import Float32
from latentfm_core.uncertainty.calibration import MAX_KNOTS, MonotoneMap

BINS = 1000

Index = NDArray[np.intp]


@dataclass
class Frequency:
    """Frequency of an event in bins of a score in [0, 1].

    Attributes
    ----------
    count, hits, score
        ``(BINS,)``: observations, number of true ones, and sum of their scores.
    """

    count: Float64
    hits: Float64
    score: Float64

    @classmethod
    def empty(cls) -> Frequency:
        """Return bins without observations."""
        return cls(np.zeros(BINS), np.zeros(BINS), np.zeros(BINS))

    def add(self, score: Float32, truth: NDArray[np.bool_]) -> None:
        """Add one observation per pixel."""
        index = bin_of(score)
        self.count += np.bincount(index, minlength=BINS)
        self.hits += np.bincount(index, weights=truth.ravel(), minlength=BINS)
        self.score += np.bincount(index, weights=score.ravel(), minlength=BINS)

    def auroc(self) -> float:
        """Return the AUROC of low scores for false events; ties within a bin count half."""
        wrong, right = self.count - self.hits, self.hits
        below = np.cumsum(wrong) - wrong
        pairs = wrong.sum() * right.sum()
        return float((right * (below + wrong / 2)).sum() / pairs) if pairs else 0.5

    def fit(self) -> MonotoneMap:
        """Return the isotonic regression of the frequency on the score."""
        used = self.count > 0
        count = self.count[used]
        blocks = isotonic_regression(self.hits[used] / count, weights=count).blocks[:-1]
        weight = np.add.reduceat(count, blocks)
        x = np.add.reduceat(self.score[used], blocks) / weight
        y = np.add.reduceat(self.hits[used], blocks) / weight
        return _through(*_merged(np.clip(x, 0, 1), np.clip(y, 0, 1), weight))


def bin_of(score: Float32) -> Index:
    """Return the bin of each score in [0, 1], flat.

    Most pixels are within a thousandth of 0 or 1, where error rates differ a hundredfold. The
    bins are therefore equal in the fourth root of the distance from the nearer end.
    """
    flat = score.ravel()
    root = np.sqrt(np.sqrt(2 * np.minimum(flat, 1 - flat)))
    scaled = np.where(flat < 0.5, root, 2 - root) * (BINS / 2)
    index: Index = np.minimum(scaled.astype(np.intp), BINS - 1)
    return index


def _merged(x: Float64, y: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Merge neighbours in order of least squared error until few are left."""
    while len(x) > MAX_KNOTS:
        cost = weight[:-1] * weight[1:] / (weight[:-1] + weight[1:]) * np.diff(y) ** 2
        at = int(cost.argmin())
        pair = slice(at, at + 2)
        total = weight[pair].sum()
        x[at], y[at] = (
            (x[pair] * weight[pair]).sum() / total,
            (y[pair] * weight[pair]).sum() / total,
        )
        weight[at] = total
        x, y, weight = (np.delete(values, at + 1) for values in (x, y, weight))
    return x, y


def _through(x: Float64, y: Float64) -> MonotoneMap:
    """Return the map through the points; constant for a single point."""
    y = np.maximum.accumulate(y)  # equal up to rounding
    if len(x) == 1:
        return MonotoneMap(x=(0.0, 1.0), y=(float(y[0]),) * 2)
    rising = np.concatenate([[True], np.diff(x) > 0])
    return MonotoneMap(x=tuple(map(float, x[rising])), y=tuple(map(float, y[rising])))
