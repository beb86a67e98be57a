"""The learning rate over a stage of training."""

from __future__ import annotations

import math

from latentfm_core.config import StageConfig

WARMUP_SHARE = 0.05
"""Largest share of a stage in which the learning rate rises."""


def longest_warm_up(total: int) -> int:
    """Return the maximum number of warm-up steps of a stage of `total` steps."""
    return int(total * WARMUP_SHARE)


def learning_rate(settings: StageConfig, step: int, done: float, total: int) -> float:
    """Return the rate of `step`: linear warm-up, then constant or a cosine to 1 % of it.

    The warm-up ends after `WARMUP_SHARE` of the stage at the latest. With a time budget that may
    be long before ``warmup_steps``: such a stage would end before its rate is annealed.

    Parameters
    ----------
    done
        Finished share of the stage, of its steps or of its time budget, in [0, 1].
    total
        Steps of the stage unless a time budget ends it earlier.
    """
    warm = min(settings.warmup_steps, longest_warm_up(total))
    rise = max((step + 1) / warm, done / WARMUP_SHARE) if warm else 1.0
    if not settings.cosine:
        return settings.learning_rate * min(1.0, rise)
    start = warm / total
    phase = min(1.0, max(0.0, (done - start) / (1 - start)))
    annealed = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase))
    return settings.learning_rate * min(annealed, rise)
