"""Choose the noise scale at which sample spread matches sample error.

A flow trained on one mask per image is overconfident, most of all on images unlike its training
images. Noise with a larger standard deviation than in training, the temperature of Kingma and
Dhariwal, increases the spread of its samples.

References
----------
D. P. Kingma, P. Dhariwal: Glow: generative flow with invertible 1x1 convolutions. NeurIPS 2018.
T. Gneiting, A. E. Raftery: Strictly proper scoring rules, prediction, and estimation. Journal of
the American Statistical Association 102 (2007), for the energy score.
L. Breiman, J. Friedman, R. Olshen, C. Stone: Classification and regression trees. 1984, for the
rule of one standard error.
"""

from __future__ import annotations

from latentfm_core.evaluation.standard_error import Groups, standard_error
from latentfm_core.metrics.overlap import Float64
from latentfm_core.uncertainty.summary import USUAL_SCALE

NOISE_SCALES = (0.75, USUAL_SCALE, 1.25, 1.5, 2.0)
"""Candidates for the noise scale."""


def choose_noise_scale(
    ged: Float64, dice: Float64, groups: Groups | None = None
) -> tuple[int, str]:
    """Return the index of the noise scale to use, and why it is used.

    Candidates are scales at which the mean mask, the most used result, is as good as at 1. Of
    those with mean GED within one standard error of the minimum, the one nearest to 1 is chosen:
    the minimum may be chance, and samples with unneeded spread are individually less useful.
    GED is the energy score of the samples for the raters' masks (Gneiting and Raftery 2007), up
    to a term independent of the scale: it penalises both too little and too much spread.

    Parameters
    ----------
    ged
        ``(images, len(NOISE_SCALES))``, `class_fair_ged` of each validation image at each scale.
    dice
        Same shape, Dice of the mean mask at the default threshold.
    groups
        Group of each image; None makes an image its own group, the default for all.
    """
    usual = NOISE_SCALES.index(USUAL_SCALE)
    mean = dice.mean(axis=0)
    allowed = [k for k in range(len(NOISE_SCALES)) if mean[k] >= mean[usual]]
    least = min(allowed, key=lambda k: ged[:, k].mean())
    losses = {k: ged[:, k] - ged[:, least] for k in allowed}
    near = [k for k, loss in losses.items() if loss.mean() <= standard_error(loss, groups)]
    best = min(near, key=lambda k: abs(NOISE_SCALES[k] - USUAL_SCALE))
    reason = "the lowest GED"
    if best != least:
        reason = (
            f"the GED at {NOISE_SCALES[least]:g} is lower, but by less than the standard error of "
            "the difference"
        )
    if len(allowed) < len(NOISE_SCALES):
        reason += f", of the scales with at least the Dice at {USUAL_SCALE:g}"
    return best, reason
