"""Progress of a stage: finished share, learning rate, and remaining time."""

from __future__ import annotations

from dataclasses import dataclass

from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.meters import EpochReport, Meter, StepReport
from latentfm_core.training.schedule import learning_rate
from latentfm_core.training.stage import Stage
from latentfm_core.training.step_timer import Part
from latentfm_core.training.time_budget import share_of_budget

MAX_VALIDATION_SHARE = 0.3
"""Largest share of the flow's time budget that goes to validation, except the last one."""


@dataclass(frozen=True)
class StageWork:
    """A stage of two parts: steps on small images first, then steps on large ones.

    Attributes
    ----------
    small_steps, total
        Steps of the first part, and of both.
    small_pixels, pixels
        Pixels of an image in either part.
    """

    small_steps: int
    total: int
    small_pixels: int
    pixels: int

    def until(self, step: int) -> int:
        """Return the work of the first `step` steps."""
        small = min(step, self.small_steps)
        return small * self.small_pixels + (step - small) * self.pixels

    def share_left(self, step: int) -> float:
        """Return the work left after `step` steps, as a share of the work done."""
        done = self.until(step)
        return (self.until(max(step, self.total)) - done) / max(1, done)


def stage_work(stage: Stage, per_epoch: int) -> StageWork:
    """Return the work of `stage` with `per_epoch` steps in each epoch."""
    settings = stage.settings
    total = per_epoch * settings.epochs
    small = 0
    if isinstance(settings, FlowConfig | DistillConfig):
        small = min(total, per_epoch * settings.small_epochs)
    return StageWork(small, total, stage.size_at(0.0) ** 2, stage.size_at(1.0) ** 2)


class StageProgress:
    """Progress of a stage.

    Parameters
    ----------
    position
        Progress of the run, which its owner keeps up to date.
    """

    def __init__(self, stage: Stage, position: Position, images: int) -> None:
        self.per_epoch = steps_per_epoch(images, stage.settings.batch_size)
        self.total = self.per_epoch * stage.settings.epochs
        self._stage, self._position = stage, position
        self._work = stage_work(stage, self.per_epoch)

    def share_done(self) -> float:
        """Return the finished share of the stage: of its steps or of its time budget."""
        passed = share_of_budget(self._stage.config, self._position)
        return max(self._position.step / max(1, self.total), passed)

    def leaves_time(self) -> bool:
        """Return whether a time budget leaves time for a validation before the one at the end.

        Validation may take the share `MAX_VALIDATION_SHARE` of the time.
        """
        position, config = self._position, self._stage.config
        if config.training.minutes is None:
            return True
        one = position.validation_seconds
        outside = position.stage_outside + one
        most = MAX_VALIDATION_SHARE * (outside + position.stage_seconds)
        if position.validated_seconds + one > most:
            return False
        return share_of_budget(config, position, outside=outside) < 1

    def share_for_size(self) -> float:
        """Return the share that selects the image size: an extended run keeps large images."""
        return 1.0 if self._position.extended_step else self.share_done()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of `step`; an extended run warms up and anneals it again."""
        done, total, first = self.share_done(), self.total, self._position.extended_step
        if first:
            before = self._share_at_extension()
            done = (done - before) / max(1e-9, 1 - before)
            step, total = step - first, max(1, total - first)
        return learning_rate(self._stage.settings, step, done, total)

    def _share_at_extension(self) -> float:
        position = self._position
        seconds, outside = position.extended_seconds, position.extended_outside
        passed = share_of_budget(self._stage.config, position, seconds, outside)
        return max(position.extended_step / max(1, self.total), passed)

    def add_step(self, seconds: float) -> None:
        """Count a step that took `seconds`."""
        position, name = self._position, self._stage.name
        position.step += 1
        position.seconds += seconds
        position.stage_seconds += seconds
        position.epochs[name] = position.epochs.get(name, 0.0) + 1 / self.per_epoch

    def step_report(self, loss: float) -> StepReport:
        """Return the progress after a step with this loss."""
        position, share = self._position, share_of_budget(self._stage.config, self._position)
        left = position.stage_seconds * self._work.share_left(position.step)
        if share > 0:
            budget = self._stage.config.training.minutes is not None
            counted = position.stage_seconds + (position.stage_outside if budget else 0.0)
            left = min(left, max(0.0, counted / share - counted))
        return StepReport(
            self._stage.name, position.step, self.total, loss, position.stage_seconds, left
        )

    def epoch_report(self, meter: Meter, rate: float, shares: dict[Part, float]) -> EpochReport:
        """Return the averages of an epoch, with its learning rate and the time of its parts."""
        step = self._position.step
        return EpochReport(
            self._stage.name,
            -(-step // self.per_epoch),
            step,
            meter.averages(),
            rate,
            meter.seconds,
            meter.rate(),
            shares,
            epochs=self._stage.settings.epochs,
            seconds_left=self.step_report(meter.last_loss()).seconds_left,
        )
