"""Sampling weights that show rare classes more often.

Reference
---------
A. Gupta, P. Dollar, R. Girshick: LVIS, a dataset for large vocabulary instance segmentation.
CVPR 2019 (repeat factor sampling).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.names import shown

logger = logging.getLogger(__name__)

NOTICED = 1.05
"""Smallest factor that is applied: below it the set counts as balanced."""


def balanced(
    data: CanvasSet | ObjectSet, classes: Sequence[str], rare: float
) -> CanvasSet | ObjectSet:
    """Return training data whose images with a rare class are drawn more often, and log it.

    A class in a share f of the images, f < `rare`, gives these images the factor
    ``sqrt(rare / f)``; an image has the largest factor of its classes. With one class, images with
    an object are drawn more often than empty ones.

    Parameters
    ----------
    rare
        Share of the images below which a class is rare; 0 changes nothing.
    """
    present = _present(data, len(classes))
    factors, found = repeat_factors(present, rare)
    if not found:
        return data
    for number in found:
        count = int(present[:, number].sum())
        logger.info(
            "Unbalanced classes: %s is in %d of %d training images, which are drawn %.1f times as "
            "often as the others. To draw all equally: --set data.rare_class=0",
            shown(classes[number]),
            count,
            len(present),
            float(factors[present[:, number]].min()),
        )
    weights = factors if data.weights is None else data.weights * factors
    return replace(data, weights=weights / weights.sum())


def repeat_factors(
    present: NDArray[np.bool_], rare: float
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return the factor of each image, and the numbers of the rare classes.

    Parameters
    ----------
    present
        ``(N, K)`` bool: whether image n contains class k.
    rare
        As for `balanced`.
    """
    shares = present.mean(axis=0)
    by_class = np.ones(present.shape[1])
    some = (shares > 0) & (shares < rare)
    by_class[some] = np.sqrt(rare / shares[some])
    by_class[by_class < NOTICED] = 1.0
    factors = np.where(present, by_class, 1.0).max(axis=1, initial=1.0)
    return factors, tuple(int(number) for number in np.flatnonzero(by_class > 1))


def _present(data: CanvasSet | ObjectSet, classes: int) -> NDArray[np.bool_]:
    """Return whether any rater marked class k in image n, as ``(N, K)``."""
    if isinstance(data, ObjectSet):
        return np.array([[bool((image.masks > 0).any())] for image in data.images])
    numbers = range(1, classes + 1)
    return np.stack([(data.masks == k).any(axis=(1, 2, 3)) for k in numbers], axis=1)
