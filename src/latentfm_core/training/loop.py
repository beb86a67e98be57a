"""The optimisation loop of one stage: resumable, interruptible, and measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from latentfm_core.bars import is_quiet, progress_bar
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import Cancelled, ConfigError
from latentfm_core.names import counted
from latentfm_core.training.batches import batch_indices
from latentfm_core.training.checkpoint import Checkpoint, Position
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.divergence import DivergenceWatch
from latentfm_core.training.meters import EpochReport, EpochSums, Meter, StepReport, ignore
from latentfm_core.training.optimisation import Optimisation
from latentfm_core.training.stage_progress import StageProgress
from latentfm_core.training.stages import Stage

logger = logging.getLogger(__name__)


@dataclass
class Hooks:
    """Callbacks of the loop.

    Attributes
    ----------
    should_stop
        Called after every step; True ends the loop after saving.
    end_of_epoch
        Receives the report and may add validation metrics to it.
    urgent
        Called several times within a step of a single process; True aborts the step.
    """

    should_stop: Callable[[], bool]
    save: Callable[[StageLoop], None]
    end_of_epoch: Callable[[StageLoop, EpochReport], None]
    end_of_step: Callable[[StepReport], None] = ignore
    urgent: Callable[[], bool] = lambda: False


class StageLoop:
    """Runs one stage from `position` to its end.

    Parameters
    ----------
    processes
        The processes that share each batch, and the device of this one.

    Raises
    ------
    ConfigError
        If a batch has fewer images than there are processes.
    """

    def __init__(
        self,
        stage: Stage,
        data: CanvasSet | ObjectSet,
        position: Position,
        processes: ProcessGroup,
        dtype: torch.dtype,
    ) -> None:
        if min(stage.settings.batch_size, len(data.names)) < processes.size:
            raise ConfigError(
                f"A batch of stage {stage.name} has fewer images than the {processes.size} "
                f"processes that share it. Raise training.{stage.name}.batch_size, or start fewer "
                "processes."
            )
        self._stage, self._data, self._position, self._processes = stage, data, position, processes
        self._progress = StageProgress(stage, position, len(data.names))
        self._watch = DivergenceWatch(stage.name, stage.settings, dtype, position.first_loss)
        self._optimisation = Optimisation(
            stage, data, processes, dtype, self._progress, self._watch
        )
        self.optimizer, self.ema = self._optimisation.optimizer, self._optimisation.ema
        self._unshared = self._outside = 0.0
        self._validated = False
        self._ended = ""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore optimiser and averages from a checkpoint of this stage."""
        checkpoint.restore_optimizer(self.optimizer)
        if self.ema is not None:
            checkpoint.restore_ema(self.ema)

    def run(self, hooks: Hooks, save_every: float) -> bool:
        """Optimise to the end; return False if stopped early.

        Parameters
        ----------
        save_every
            Seconds between checkpoints.
        """
        first = self._position.step
        try:
            if self._is_unreported(first):  # interrupted in the validation of the epoch
                self._end_epoch(Meter(self._position.epoch), hooks)
            if first and (self.share_done() >= 1 or self._ended):
                self._report_end(first)
                return True
            return self._run(hooks, save_every, first)
        except Cancelled:
            hooks.save(self)
            return False

    def _is_unreported(self, step: int) -> bool:
        """Return whether an epoch ended with the last of the first `step` steps, unreported."""
        ends = step % self._progress.per_epoch == 0 or self.share_done() >= 1
        return self._position.epoch.steps > 0 and ends

    def share_done(self) -> float:
        """Return the finished share of the stage: of its steps or of its time budget."""
        return self._progress.share_done()

    def leaves_time(self) -> bool:
        """Return whether a time budget leaves time for a validation before the one at the end."""
        return self._progress.leaves_time()

    def end_early(self, reason: str) -> None:
        """End the stage after this step, as if its steps were done; log the reason afterwards."""
        self._ended = reason

    def _run(self, hooks: Hooks, save_every: float, first: int) -> bool:
        saved = time.monotonic()
        with self._bar(first) as bar:
            meter = Meter(self._position.epoch)
            for step, index in enumerate(self._indices(first), start=first):
                stop = self._timed_step(step, index, meter, hooks)
                self._show(bar, step, meter)
                hooks.end_of_step(self._progress.step_report(meter.last_loss()))
                over = self.share_done() >= 1
                if over or (step + 1) % self._progress.per_epoch == 0:
                    meter = self._end_epoch(meter, hooks)
                if over or self._ended:
                    self._watch.check_end(step + 1)
                    self._report_end(step + 1)
                    return True
                if stop or (self._processes.size == 1 and hooks.should_stop()):
                    hooks.save(self)
                    return False
                if self._is_due(step + 1, time.monotonic() - saved, save_every):
                    start = time.monotonic()
                    hooks.save(self)
                    saved = time.monotonic()
                    self._add_outside(saved - start)
        return True

    def _indices(self, first: int) -> Iterator[NDArray[np.intp]]:
        stage, data = self._stage, self._data
        batch, seed = stage.settings.batch_size, stage.config.training.seed
        last = self._progress.total
        return batch_indices(len(data.names), batch, seed, stage.index, first, last, data.weights)

    def _bar(self, first: int) -> tqdm[Any]:
        # A stage without epochs has nothing to show.
        quiet = not self._processes.first or is_quiet(logger) or not self._progress.total
        return progress_bar(self._progress.total, self._stage.name, "step", quiet, initial=first)

    def _show(self, bar: tqdm[Any], step: int, meter: Meter) -> None:
        bar.update()
        if (step + 1) % 10 == 0:
            outside = 1 - self._optimisation.timer.shares()["network"]
            values = {
                "loss": f"{meter.latest():.4f}",
                "rate": f"{meter.rate():.1f} img/s",
                "outside network": f"{outside:.0%}",
            }
            bar.set_postfix(values, refresh=False)

    def _end_epoch(self, meter: Meter, hooks: Hooks) -> Meter:
        """Report the epoch; return the meter of the next one."""
        timer, rate = self._optimisation.timer, self._position.epoch.learning_rate
        start = time.monotonic()
        report = self._progress.epoch_report(meter, rate, timer.shares())
        hooks.end_of_epoch(self, report)
        self._validated = bool(report.validation)
        self._add_outside(time.monotonic() - start)
        self._position.epoch = EpochSums()
        timer.reset()
        return Meter(self._position.epoch)

    def _add_outside(self, seconds: float) -> None:
        """Count time between two steps; several processes agree on it in the next step."""
        self._outside += seconds
        if self._processes.size == 1:
            self._count_outside(self._outside)

    def _count_outside(self, seconds: float) -> None:
        self._position.add_outside(seconds)
        if self._validated:
            self._position.validation_seconds = seconds
            self._position.validated_seconds += seconds
        self._outside, self._validated = 0.0, False

    def _report_end(self, steps: int) -> None:
        total = self._progress.total
        if steps < total and self._processes.first:
            done = f"{steps} of {counted(total, 'step')}"
            budget = f"The time budget ends stage {self._stage.name} after {done}."
            logger.info("%s", self._ended or budget)

    def _is_due(self, step: int, seconds: float, save_every: float) -> bool:
        """Return whether a checkpoint is due after `step` steps, `seconds` after the last."""
        every = self._stage.config.training.checkpoint_steps
        due = seconds > save_every or (every is not None and step % every == 0)
        return due and self._watch.healthy

    def _timed_step(self, step: int, index: NDArray[np.intp], meter: Meter, hooks: Hooks) -> bool:
        """Do a step; return whether any of several processes was asked to stop.

        Several processes must also agree on the seconds used for the time budget. They
        share them before the weight update, whose seconds are counted one step later.
        """
        start, alone = time.monotonic(), self._processes.size == 1
        sent_at = start

        def own() -> list[float]:
            nonlocal sent_at
            sent_at = time.monotonic()
            asked = 0.0 if alone else float(hooks.should_stop())
            return [sent_at - start + self._unshared, asked, self._outside]

        losses, (seconds, stop, outside) = self._optimisation.step(step, index, own, hooks.urgent)
        end = time.monotonic()
        if alone:
            seconds = end - start
        else:
            self._unshared = end - sent_at
            self._count_outside(outside)
        self._progress.add_step(seconds)
        meter.add(losses, len(index), seconds)
        self._position.epoch.learning_rate = self._optimisation.learning_rate
        self._watch.add(losses["loss"], step)
        self._position.first_loss = self._watch.first_loss
        return stop > 0
