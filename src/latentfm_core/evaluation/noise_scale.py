"""How far samples have to differ: as far as they err.

A flow that was trained on one mask per image is surer than it is right, most of all on images
that are unlike its training. Noise with a larger standard deviation than in the training, the
temperature of Kingma and Dhariwal, spreads its samples again.

References
----------
D. P. Kingma, P. Dhariwal: Glow: generative flow with invertible 1x1 convolutions. NeurIPS 2018.
T. Gneiting, A. E. Raftery: Strictly proper scoring rules, prediction, and estimation. Journal of
the American Statistical Association 102 (2007), for the energy score.
L. Breiman, J. Friedman, R. Olshen, C. Stone: Classification and regression trees. 1984, for the
rule of one standard error.
"""

from __future__ import annotations

from latentfm_core.evaluation.chance import Groups, standard_error
from latentfm_core.metrics.overlap import Float64
from latentfm_core.uncertainty.summary import USUAL_SCALE

NOISE_SCALES = (0.75, USUAL_SCALE, 1.25, 1.5, 2.0)
"""Candidates for the noise scale."""


def choose_noise_scale(ged: Float64, dice: Float64, groups: Groups | None = None) -> int:
    """Return the index of the noise scale to take.

    Only scales count at which the mean mask, which most people take, is as good as with 1. Of
    those whose mean GED is within one standard error of the least one, it is that nearest to 1:
    the least one itself may be chance, and samples that differ more than they have to are of
    less use one by one. GED is the energy score of the samples for the raters' masks (Gneiting
    and Raftery 2007), but for a term that no scale changes: too alike and too different both
    cost.

    Parameters
    ----------
    ged
        ``(images, len(NOISE_SCALES))``, `class_fair_ged` of each validation image at each scale.
    dice
        Of the same shape, Dice of the mean mask at the usual threshold.
    groups
        What each image belongs to; one of None is a group of its own, as are all by default.
    """
    usual = NOISE_SCALES.index(USUAL_SCALE)
    mean = dice.mean(axis=0)
    allowed = [k for k in range(len(NOISE_SCALES)) if mean[k] >= mean[usual]]
    least = min(allowed, key=lambda k: ged[:, k].mean())
    losses = {k: ged[:, k] - ged[:, least] for k in allowed}
    near = [k for k, loss in losses.items() if loss.mean() <= standard_error(loss, groups)]
    return min(near, key=lambda k: abs(NOISE_SCALES[k] - USUAL_SCALE))
