"""Options of a training run that do not affect its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentfm_core.loggers.tracking import Tracking
from latentfm_core.training.meters import EpochReport, StepReport, ignore
from latentfm_core.training.run_record import ChangedData


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that do not affect its result.

    Attributes
    ----------
    out
        Model folder to create; logs and checkpoints go to its subfolder ``training``.
    tracking
        Loggers besides ``log.csv`` and the report.
    should_stop
        Called after every step and every validation image; True saves and stops.
    command
        Command that started or resumed the run, for the model card.
    card
        Hand-written fields of the model card (title, data, licence, ...).
    init
        Model folder, or name of a bundled model, whose weights a new run starts from.
    trust_paths
        Follow paths in a checkpoint that is another user's or was moved.
    changed_data
        Behaviour of a resumed run whose images have changed.
    should_stop_reading
        Called after every image that is read; True raises `Cancelled`.
    dry_run
        Read the images without adding them to the cache; the run is not started.
    urgent
        Called within steps and between parts of other long work, in a single process; True
        aborts it without loss, saves and stops.
    on_step
        Called after every step.
    on_validation
        Called after every validation.
    """

    out: Path
    resume: bool = False
    tracking: Tracking = field(default_factory=Tracking)
    should_stop: Callable[[], bool] = lambda: False
    command: str = ""
    card: dict[str, Any] | None = None
    init: str | None = None
    trust_paths: bool = False
    changed_data: ChangedData = "reject"
    should_stop_reading: Callable[[], bool] = lambda: False
    dry_run: bool = False
    urgent: Callable[[], bool] = lambda: False
    on_step: Callable[[StepReport], None] = ignore
    on_validation: Callable[[EpochReport], None] = ignore
