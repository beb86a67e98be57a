"""What concerns a training run but not its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.training.meters import EpochReport, StepReport, ignore
from latentfm_core.training.run_record import ChangedData


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
        How the run was started or resumed, for the model card.
    card
        Fields of the model card that people write (title, data, licence, ...).
    init
        Model folder, or name of a bundled model, whose weights a new run starts from.
    changed_data
        What a resumed run does if its images are not those that it began with.
    should_stop_reading
        Asked after every image that is read; True ends the reading by `Cancelled`.
    urgent
        Asked within steps and between the pieces of other long work, by a single process; True
        gives it up without loss, saves and stops.
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
    changed_data: ChangedData = "refuse"
    should_stop_reading: Callable[[], bool] = lambda: False
    urgent: Callable[[], bool] = lambda: False
    on_step: Callable[[StepReport], None] = ignore
    on_validation: Callable[[EpochReport], None] = ignore
