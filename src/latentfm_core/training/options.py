"""What concerns a training run but not its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.training.meters import EpochReport, StepReport, ignore


@dataclass(frozen=True)
class RunOptions:
    """What concerns a run but not its result.

    Attributes
    ----------
    out
        The model folder to make; logs and checkpoints go to its subfolder ``training``.
    resume
        Go on from the checkpoint in `out`.
    tensorboard
        Also write TensorBoard events.
    should_stop
        Asked after every step and every validation image; True saves and stops.
    command
        For the model card.
    card
        Fields of the model card that people write (title, data, licence, ...).
    init
        Model folder, or name of a bundled model, whose weights a new run starts from.
    on_step
        Called after every step.
    on_validation
        Called after every validation.
    """

    out: Path
    resume: bool = False
    tensorboard: bool = False
    should_stop: Callable[[], bool] = lambda: False
    command: str = ""
    card: dict[str, Any] | None = None
    init: str | None = None
    on_step: Callable[[StepReport], None] = ignore
    on_validation: Callable[[EpochReport], None] = ignore
