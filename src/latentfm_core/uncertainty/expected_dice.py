"""Expected Dice of the mean mask of an image with an expert's mask.

The samples stand for the masks that experts might draw. If they did so exactly, the mean Dice
of the mean mask with the samples would be its expected Dice with an expert. Models are more
confident than they should be; a `QualityMap`, fitted on validation images, corrects that.

References
----------
A. G. Roy, S. Conjeti, N. Navab, C. Wachinger: Bayesian QuickNAT: model uncertainty in deep
whole-brain segmentation for structure-wise quality control. NeuroImage 195 (2019), which
takes the agreement of samples with each other for the quality of an image.
L. E. Papke, J. M. Wooldridge: Econometric methods for fractional response variables. Journal
of Applied Econometrics 11 (1996), for the regression of a share.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from latentfm_core.config import Settings
from latentfm_core.metrics.classes import class_dice
from latentfm_core.metrics.overlap import Float64
from latentfm_core.types import Mask

NOT_CALIBRATED = (
    "not calibrated, and usually too high: use it to rank images. latentfm-calibrate corrects it."
)
"""What a report says about raw values, after "it is"."""

EDGE = 1e-3
"""Shares are clipped this far from 0 and 1 before their logit is taken."""

FEWEST = 20
"""Minimum number of images to fit a map of two parameters."""

_BOUND = 20.0


class QualityMap(Settings):
    """Map from the agreement of the samples to the expected Dice of the mean mask.

    sigmoid(intercept + slope logit(x)), strictly increasing, so that the order of images is kept.

    Attributes
    ----------
    intercept, slope
        0 and 1 give the identity.
    """

    intercept: Annotated[float, Field(ge=-_BOUND, le=_BOUND)]
    slope: Annotated[float, Field(gt=0, le=_BOUND)]

    def __call__(self, agreement: float) -> float:
        """Return the expected Dice, in [0, 1]."""
        score = self.intercept + self.slope * float(_logit(np.asarray(agreement)))
        return float(1 / (1 + np.exp(-score)))


def sample_agreement(samples: Mask, mean_mask: Mask) -> float | None:
    """Return the mean Dice of the samples with the mean mask, in [0, 1].

    Over several classes it is the mean over those that occur (`class_dice`). A single sample
    has no agreement: None.

    Parameters
    ----------
    samples
        ``(N, H, W)`` bool or uint8 labels.
    mean_mask
        ``(H, W)`` of the same dtype.
    """
    if len(samples) < 2:
        return None
    return float(np.mean([class_dice(sample, mean_mask) for sample in samples]))


def fit_quality(agreement: Float64, measured: Float64) -> QualityMap | None:
    """Fit the map from agreement to Dice; None if there are too few images.

    Both numbers of the map by the quasi-likelihood of a share (Papke and Wooldridge 1996). In
    5-fold cross-validation on the validation parts of both bundled models it was nearer to the
    Dice than an isotonic regression. With fewer than `FEWEST` images, or where Dice does not
    rise with agreement, there is none.

    Parameters
    ----------
    agreement, measured
        ``(images,)`` float64, `sample_agreement` and Dice of the mean mask with the raters.
    """
    if len(agreement) < FEWEST:
        return None
    # Imported here: needed only to calibrate a model, not to use one.
    from scipy.optimize import minimize

    z = _logit(agreement)

    def loss(numbers: Float64) -> float:
        score = numbers[0] + numbers[1] * z
        return float(np.mean(np.logaddexp(0, score) - measured * score))

    start = np.array([0.0, 1.0])
    numbers = minimize(loss, start, bounds=[(-_BOUND, _BOUND), (0, _BOUND)]).x
    if numbers[1] < EDGE:
        return None
    return QualityMap(intercept=float(numbers[0]), slope=float(numbers[1]))


def _logit(share: Float64) -> Float64:
    inner = np.clip(share, EDGE, 1 - EDGE)
    logit: Float64 = np.log(inner / (1 - inner))
    return logit
