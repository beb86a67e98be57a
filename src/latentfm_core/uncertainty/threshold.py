"""The threshold of the mean mask: what is better than 0.5 by more than chance.

References
----------
K.-Y. Liang, S. L. Zeger: Longitudinal data analysis using generalized linear models. Biometrika
73 (1986), for the standard error of observations that come in groups.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from latentfm_core.metrics.overlap import Float64
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
SIGNIFICANT = 2.0
"""Standard errors by which a threshold must beat 0.5 on validation images."""


def choose_threshold(dice: Float64, groups: Sequence[Hashable | None] | None = None) -> int:
    """Return the index of the threshold with the best mean Dice, or that of 0.5.

    0.5 is left only for a mean gain of more than `SIGNIFICANT` standard errors of the paired
    differences between images. Dice hardly depends on the threshold near its best value, so
    that the highest point of a few hundred images is mostly chance: halves of one validation
    part chose 0.25 and 0.55.

    Frames of one video say the same thing many times. With groups the standard error is that
    between groups: sqrt(G / (G - 1) sum_g (sum_i (d_i - mean))^2) / n over the images i of the G
    groups, which is the usual one if every image is a group of its own.

    Parameters
    ----------
    dice
        ``(images, len(THRESHOLDS))``, Dice of each validation image at each threshold.
    groups
        What each image belongs to; one of None is a group of its own, as are all by default.
    """
    middle = THRESHOLDS.index(DEFAULT_THRESHOLD)
    mean = dice.mean(axis=0)
    # Of equally good ones the nearest to 0.5, which is what nobody has to explain.
    best = max(range(len(THRESHOLDS)), key=lambda k: (mean[k], -abs(THRESHOLDS[k] - 0.5)))
    gain = dice[:, best] - dice[:, middle]
    deviations: dict[Hashable, float] = {}
    for index, deviation in enumerate(gain - gain.mean()):
        group = None if groups is None else groups[index]
        key = ("alone", index) if group is None else ("group", group)
        deviations[key] = deviations.get(key, 0.0) + float(deviation)
    count = len(deviations)
    if count < 2 or best == middle:
        return middle
    squares = np.square(list(deviations.values())).sum()
    standard_error = np.sqrt(count / (count - 1) * squares) / len(gain)
    return best if gain.mean() > SIGNIFICANT * standard_error else middle
