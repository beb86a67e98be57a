"""Time budget of a run, divided among its stages."""

from __future__ import annotations

from latentfm_core.config import Config
from latentfm_core.training.stage import STAGES

SHARES = {"image_vae": 8, "mask_vae": 10, "flow": 72, "distill": 10}
"""Share of each stage, in percent, if all stages train."""

OPTIMISATION = 0.9
"""Share of the budget that goes into steps; validation and the end of each stage need the rest."""


def is_trained(config: Config, stage: str) -> bool:
    """Return whether a stage has epochs and the model has the network it trains."""
    if not getattr(config.training, stage).epochs:
        return False
    if stage == "image_vae":
        return config.model.condition != "pretrained"
    return stage != "distill" or config.model.distilled_steps > 0


def stage_seconds(config: Config, stage: str) -> float | None:
    """Return the time limit of a stage's steps in seconds, None without a limit.

    A stage with ``max_seconds`` has its own limit. The others share the rest of the run's budget
    (``training.minutes``) according to `SHARES`. If nothing is left for them, or the limits exceed
    the budget, all stages share it, and none gets more than its own limit.
    """
    own: float | None = getattr(config.training, stage).max_seconds
    if config.training.minutes is None:
        return own
    budget = config.training.minutes * 60 * OPTIMISATION
    trained = [name for name in STAGES if is_trained(config, name)]
    limits = {name: getattr(config.training, name).max_seconds for name in trained}
    fixed = sum(limit for limit in limits.values() if limit is not None)
    if fixed < budget and own is not None:
        return own
    if fixed >= budget:
        limits, fixed = dict.fromkeys(limits), 0.0
    parts = sum(SHARES[name] for name in trained if limits[name] is None)
    share: float = (budget - fixed) * SHARES[stage] / max(parts, SHARES[stage])
    return share if own is None else min(own, share)
