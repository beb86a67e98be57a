"""Metrics of binary masks, extended to several classes.

Labels are compared class by class, background left out, and averaged over the foreground
classes that occur in either of the two; if none occurs, they agree. With one class, or
with boolean masks, that is the binary metric itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.metrics.distribution import fair_ged, ged, hm_iou, sample_diversity
from latentfm_core.metrics.overlap import dice, iou
from latentfm_core.types import Bool, check_labels

Labels = NDArray[Any]


def class_dice(first: Labels, second: Labels) -> float:
    """Return the mean Dice over the classes of two label maps ``(H, W)``."""
    return _over_classes(dice, first, second)


def class_iou(first: Labels, second: Labels) -> float:
    """Return the mean IoU over the classes of two label maps ``(H, W)``."""
    return _over_classes(iou, first, second)


def class_ged(samples: Labels, references: Labels) -> float:
    """Return the mean GED over the classes of samples ``(N, H, W)`` and references."""
    return _over_classes(ged, samples, references)


def class_fair_ged(samples: Labels, references: Labels) -> float:
    """Return the mean `fair_ged` over the classes of samples ``(N, H, W)`` and references."""
    return _over_classes(fair_ged, samples, references)


def class_hm_iou(samples: Labels, references: Labels) -> float:
    """Return the mean Hungarian-matched IoU over the classes."""
    return _over_classes(hm_iou, samples, references)


def class_diversity(samples: Labels) -> float:
    """Return the mean `sample_diversity` over the classes of samples ``(N, H, W)``."""
    return _over_classes(lambda masks, _: sample_diversity(masks), samples, samples)


def _over_classes(figure: Callable[[Bool, Bool], float], first: Labels, second: Labels) -> float:
    for given in (first, second):
        check_labels(given, "labels")
    if first.dtype == np.bool_ and second.dtype == np.bool_:
        return figure(first, second)  # no need to find the labels
    labels = np.union1d(np.unique(first), np.unique(second)).astype(np.int64)
    classes = labels[labels > 0]
    if classes.size <= 1:
        return figure(np.asarray(first > 0), np.asarray(second > 0))
    return float(np.mean([figure(first == label, second == label) for label in classes]))
