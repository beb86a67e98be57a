"""Compare the spread of samples with that of the references (the raters).

Masks are compared by the distance d = 1 - IoU; two empty masks have distance 0, an empty
and a filled one have 1.

References
----------
G. J. Szekely, M. L. Rizzo: Energy statistics: a class of statistics based on distances.
Journal of Statistical Planning and Inference 143 (2013).
S. Kohl et al.: A probabilistic U-Net for segmentation of ambiguous images. NeurIPS 2018.
S. Kohl et al.: A hierarchical probabilistic U-Net for modeling multi-scale ambiguities.
arXiv 1905.13077 (2019).
C. A. T. Ferro: Fair scores for ensemble forecasts. Quarterly Journal of the Royal Meteorological
Society 140 (2014).
"""

from __future__ import annotations

import math

import numpy as np

from latentfm_core.metrics.overlap import Float64, pairwise_iou
from latentfm_core.types import Bool


def pairwise_distance(first: Bool, second: Bool) -> Float64:
    """Return 1 - IoU of each mask of ``(N, H, W)`` with each of ``(M, H, W)``: ``(N, M)``."""
    return 1 - pairwise_iou(first, second)


def ged(samples: Bool, references: Bool) -> float:
    """Return the squared generalised energy distance of samples and references.

    GED^2 = 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')], d = 1 - IoU (Kohl et al. 2018, after
    Szekely and Rizzo 2013). Expectations are means over all pairs, a mask with itself
    included, as usual for this metric. It is 0 when both sets contain the same masks in the same
    proportions, and never negative except by rounding.

    Parameters
    ----------
    samples, references
        ``(N, H, W)`` and ``(M, H, W)`` bool, N and M at least 1.

    Raises
    ------
    ValueError
        If a set is empty, or the masks are not boolean or differ in shape.
    """
    _check_filled(samples, references)
    between = pairwise_distance(samples, references).mean()
    within = pairwise_distance(samples, samples).mean()
    within += pairwise_distance(references, references).mean()
    return float(2 * between - within)


def fair_ged(samples: Bool, references: Bool) -> float:
    """Estimate the `ged` of infinitely many samples from N, at least 2.

    GED counts each sample's distance 0 from itself, so that few samples seem to differ less than
    they do, and the spread that scores best would depend on N. Here samples are compared with
    other samples only (Ferro 2014): E[d(S, S')] is their `sample_diversity`.

    Parameters
    ----------
    samples, references
        ``(N, H, W)`` and ``(M, H, W)`` bool.

    Raises
    ------
    ValueError
        As `ged` does.
    """
    _check_filled(samples, references)
    between = pairwise_distance(samples, references).mean()
    within = sample_diversity(samples) + pairwise_distance(references, references).mean()
    return float(2 * between - within)


def hm_iou(samples: Bool, references: Bool) -> float:
    """Return the Hungarian-matched IoU of samples and references, in [0, 1].

    Both sets are repeated to the least common multiple of their sizes and matched one to one
    so that the mean IoU is highest (Kohl et al. 2019).

    Parameters
    ----------
    samples, references
        ``(N, H, W)`` and ``(M, H, W)`` bool, N and M at least 1.

    Raises
    ------
    ValueError
        If a set is empty, or the masks are not boolean or differ in shape.
    """
    _check_filled(samples, references)
    table = pairwise_iou(samples, references)
    size = math.lcm(*table.shape)
    rows, columns = size // table.shape[0], size // table.shape[1]
    repeated = np.repeat(np.repeat(table, rows, axis=0), columns, axis=1)
    # Imported here: it takes a quarter of a second.
    from scipy.optimize import linear_sum_assignment

    matched = linear_sum_assignment(repeated, maximize=True)
    return float(repeated[matched].mean())


def sample_diversity(samples: Bool) -> float:
    """Return the mean of 1 - IoU over all pairs of different samples, in [0, 1].

    It is N / (N - 1) times the term E[d(S, S')] of `ged`, and NaN for a single sample.

    Raises
    ------
    ValueError
        If there are no samples, or they are not boolean.
    """
    _check_filled(samples)
    count = samples.shape[0]
    if count == 1:
        return math.nan
    return float(pairwise_distance(samples, samples).sum() / (count * (count - 1)))


def _check_filled(*sets: Bool) -> None:
    if any(masks.shape[0] == 0 for masks in sets):
        raise ValueError("at least one mask is needed in each set")
