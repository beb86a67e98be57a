"""Confidence intervals of means over grouped images.

Reference
---------
B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap (1993), percentile intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0


def interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean, or None for fewer than two groups.

    Whole groups are drawn with replacement, and the mean is over the images of all drawn groups:
    frames of one video count as one observation, not as many.

    Parameters
    ----------
    values
        Figure of each image.
    groups
        Group of each image.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(member, weights=np.asarray(values, np.float64))
    counts = np.bincount(member)
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
