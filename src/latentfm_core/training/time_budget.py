"""Time budget of a run, divided among its stages."""

from __future__ import annotations

from latentfm_core.config import Config
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.stage import STAGES

SHARES = {"image_vae": 8, "mask_vae": 10, "flow": 72, "distill": 10}
"""Share of each stage, in percent, if all stages train."""

STAGES_SHARE = 0.97
"""Share of the budget that goes to the stages; writing the model needs the rest."""


def is_trained(config: Config, stage: str) -> bool:
    """Return whether a stage has epochs and the model has the network it trains."""
    if not getattr(config.training, stage).epochs:
        return False
    if stage == "image_vae":
        return config.model.condition != "pretrained"
    return stage != "distill" or config.model.distilled_steps > 0


def stage_seconds(config: Config, stage: str) -> float | None:
    """Return the time limit of a stage in seconds, None without a limit.

    A stage with ``max_seconds`` has its own limit, for its steps alone. The others share the rest
    of the run's budget (``training.minutes``), validation included, according to `SHARES`. If
    nothing is left for them, or the limits exceed the budget, all stages share it, and none gets
    more than its own limit.
    """
    own: float | None = getattr(config.training, stage).max_seconds
    if config.training.minutes is None:
        return own
    budget = config.training.minutes * 60 * STAGES_SHARE
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


def share_of_budget(
    config: Config, position: Position, steps: float | None = None, outside: float | None = None
) -> float:
    """Return the share of the time of the current stage that has passed; 0 without a limit.

    With a budget of the run, validation counts as well, and the stage ends when only the time of
    its last validation and of the later stages is left.

    Parameters
    ----------
    steps, outside
        Seconds of the stage in its steps, and between them; None takes those of `position`.
    """
    stage = position.stage
    limit = stage_seconds(config, stage)
    if limit is None:
        return 0.0
    steps = position.stage_seconds if steps is None else steps
    if config.training.minutes is None:
        return steps / limit
    used = steps + (position.stage_outside if outside is None else outside)
    last = position.validation_seconds * _last_validations(config, stage)
    before = position.seconds + position.outside - position.stage_seconds - position.stage_outside
    later = STAGES[STAGES.index(stage) + 1 :]
    kept = sum(stage_seconds(config, name) or 0.0 for name in later if is_trained(config, name))
    room = config.training.minutes * 60 * STAGES_SHARE - before - kept - last
    if limit == getattr(config.training, stage).max_seconds:
        return max(steps / limit, used / max(room, 1e-9))
    return used / max(min(limit - last, room), 1e-9)


def _last_validations(config: Config, stage: str) -> int:
    """Return how many validations end a stage."""
    return {"flow": 1, "distill": config.model.distilled_steps}.get(stage, 0)
