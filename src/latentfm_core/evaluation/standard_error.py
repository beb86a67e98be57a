"""Cluster-robust standard error of a mean paired difference.

References
----------
K.-Y. Liang, S. L. Zeger: Longitudinal data analysis using generalized linear models. Biometrika
73 (1986), for the standard error of observations that come in groups.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from latentfm_core.metrics.overlap import Float64

Groups = Sequence[Hashable | None]

SIGNIFICANT = 2.0
"""Standard errors by which a mean gain must exceed zero to count."""


def standard_error(gain: Float64, groups: Groups | None = None) -> float:
    """Return the standard error of the mean of ``(images,)`` paired differences.

    Frames of one video are correlated. With groups, the standard error is that between groups:
    sqrt(G / (G - 1) sum_g (sum_i (d_i - mean))^2) / n over the images i of the G groups, which
    equals the usual one if every image is its own group. Infinite with fewer than two groups.

    Parameters
    ----------
    gain
        One difference per image.
    groups
        Group of each image; None makes an image its own group, the default for all.
    """
    deviations: dict[Hashable, float] = {}
    for index, deviation in enumerate(gain - gain.mean()):
        group = None if groups is None else groups[index]
        key = ("alone", index) if group is None else ("group", group)
        deviations[key] = deviations.get(key, 0.0) + float(deviation)
    count = len(deviations)
    if count < 2:
        return float("inf")
    squares = np.square(list(deviations.values())).sum()
    return float(np.sqrt(count / (count - 1) * squares) / len(gain))
