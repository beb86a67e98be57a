"""Choose a threshold for the mean mask if it is significantly better than 0.5."""

from __future__ import annotations

from latentfm_core.evaluation.chance import Groups, standard_error
from latentfm_core.metrics.overlap import Float64
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
SIGNIFICANT = 2.0
"""Standard errors by which a threshold must beat 0.5 on validation images."""


def choose_threshold(dice: Float64, groups: Groups | None = None) -> int:
    """Return the index of the threshold with the best mean Dice, or that of 0.5.

    A value other than 0.5 needs a mean gain of more than `SIGNIFICANT` standard errors of the
    paired differences between images (`standard_error`). Dice is flat near its optimum, so the
    maximum over a few hundred images is mostly chance: halves of one validation part chose 0.25
    and 0.55.

    Parameters
    ----------
    dice
        ``(images, len(THRESHOLDS))``, Dice of each validation image at each threshold.
    groups
        Group of each image; None makes an image its own group, the default for all.
    """
    middle = THRESHOLDS.index(DEFAULT_THRESHOLD)
    mean = dice.mean(axis=0)
    # Of equally good ones, the nearest to the default of 0.5.
    best = max(range(len(THRESHOLDS)), key=lambda k: (mean[k], -abs(THRESHOLDS[k] - 0.5)))
    gain = dice[:, best] - dice[:, middle]
    return best if gain.mean() > SIGNIFICANT * standard_error(gain, groups) else middle
