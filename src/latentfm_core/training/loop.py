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
from torch import nn
from tqdm import tqdm

from latentfm_core.bars import is_quiet, progress_bar
from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import Cancelled, ConfigError
from latentfm_core.inference.device import autocast
from latentfm_core.training.batch_source import Feeder, Source
from latentfm_core.training.batches import (
    batch_indices,
    draw_raters,
    seed_for,
    steps_per_epoch,
)
from latentfm_core.training.checkpoint import Checkpoint, Position
from latentfm_core.training.distributed import Team
from latentfm_core.training.divergence import Diverged, DivergenceWatch
from latentfm_core.training.ema import EMA
from latentfm_core.training.globalbatch import GlobalBatch
from latentfm_core.training.meters import EpochReport, EpochSums, Meter, StepReport, ignore
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.stage import BatchSource
from latentfm_core.training.stage_work import stage_work
from latentfm_core.training.stages import Stage, freeze_except, learning_rate
from latentfm_core.training.step_timer import PartsClock
from latentfm_core.training.time_budget import stage_seconds

__all__ = ["Diverged", "Hooks", "StageLoop"]

logger = logging.getLogger(__name__)


@dataclass
class Hooks:
    """Callbacks of the loop.

    Attributes
    ----------
    should_stop
        Called after every step; True ends the loop after saving.
    save
        Writes a checkpoint.
    end_of_epoch
        Receives the report and may add validation metrics to it.
    end_of_step
        Receives the progress of the stage.
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
    stage
        The stage to train.
    data
        Training images.
    position
        Updated after every step.
    team
        The processes that share each batch, and the device of this one.
    dtype
        Data type of the computation.

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
        team: Team,
        dtype: torch.dtype,
    ) -> None:
        self.stage = stage
        self.data = data
        self.position = position
        self.team = team
        self.device = team.device
        self.dtype = dtype
        if min(stage.settings.batch_size, len(data.names)) < team.size:
            raise ConfigError(
                f"A batch of stage {stage.name} has fewer images than the {team.size} processes "
                f"that share it. Raise training.{stage.name}.batch_size or start fewer."
            )
        parameters = stage.parameters()
        freeze_except(stage.model, parameters)
        settings = stage.settings
        self.optimizer = _adamw(parameters, stage, self.device)
        decay = settings.ema_decay if isinstance(settings, FlowConfig | DistillConfig) else 0.0
        self.ema = EMA(parameters, decay) if decay else None
        self.clock = PartsClock(self.device)
        self._feeders: list[Feeder] = []
        if isinstance(data, CanvasSet):
            self._feeders.append(Feeder(data, stage.config.model.mask_channels, self.device))
        self._losses = team.wrap(stage)
        self._unshared = 0.0
        self.per_epoch = steps_per_epoch(len(data.names), settings.batch_size)
        self.total = self.per_epoch * settings.epochs
        self._work = stage_work(stage, self.per_epoch)
        self._budget = stage_seconds(stage.config, stage.name)
        self._ended = False
        self._watch = DivergenceWatch(stage.name, settings, dtype, position.first_loss)
        # Running averages of an aborted step would stay in the network.
        self._has_averages = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in stage.model.modules()
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore optimiser and averages from a checkpoint of this stage."""
        checkpoint.restore_optimizer(self.optimizer)
        if self.ema is not None:
            checkpoint.restore_ema(self.ema)

    def run(self, hooks: Hooks, save_every: float) -> bool:
        """Optimise to the end; return False if stopped early.

        Parameters
        ----------
        hooks
            Callbacks.
        save_every
            Seconds between checkpoints.
        """
        first = self.position.step
        if first and self.share_done() >= 1:
            return True  # interrupted after its last step
        try:
            return self._run(hooks, save_every, first)
        except Cancelled:
            hooks.save(self)
            return False

    def _run(self, hooks: Hooks, save_every: float, first: int) -> bool:
        saved = time.monotonic()
        with self._bar(first) as bar:
            meter = Meter(self.position.epoch)
            for step, index in enumerate(self._indices(first), start=first):
                stop = self._timed_step(step, index, meter, hooks)
                bar.update()
                if (step + 1) % 10 == 0:
                    bar.set_postfix(self._postfix(meter), refresh=False)
                hooks.end_of_step(self._stands(meter.last_loss()))
                over = self.share_done() >= 1
                if over or (step + 1) % self.per_epoch == 0:
                    hooks.end_of_epoch(self, self._report(meter))
                    self.position.epoch = EpochSums()
                    meter = Meter(self.position.epoch)
                    self.clock.reset()
                if over or self._ended:
                    self._watch.check_end(step + 1)
                    return True
                if stop or (self.team.size == 1 and hooks.should_stop()):
                    hooks.save(self)
                    return False
                if self._is_due(step + 1, time.monotonic() - saved, save_every):
                    hooks.save(self)
                    saved = time.monotonic()
        return True

    def _is_due(self, step: int, seconds: float, save_every: float) -> bool:
        """Return whether a checkpoint is due after `step` steps, `seconds` after the last."""
        every = self.stage.config.training.checkpoint_steps
        due = seconds > save_every or (every is not None and step % every == 0)
        return due and self._watch.healthy

    def share_done(self) -> float:
        """Return the finished share of the stage: of its steps or of its time budget."""
        budget = self._budget
        steps = self.position.step / max(1, self.total)
        return steps if budget is None else max(steps, self.position.stage_seconds / budget)

    def _schedule(self, step: int, done: float) -> tuple[int, float, int]:
        """Return step, finished share and steps of the current schedule of the learning rate."""
        first = self.position.extended_step
        if not first:
            return step, done, self.total
        before = first / max(1, self.total)
        if self._budget is not None:
            before = max(before, self.position.extended_seconds / self._budget)
        share = (done - before) / max(1e-9, 1 - before)
        return step - first, share, max(1, self.total - first)

    def end_early(self) -> None:
        """End the stage after this step, as if its steps were done."""
        self._ended = True

    def _postfix(self, meter: Meter) -> dict[str, str]:
        return {
            "loss": f"{meter.latest():.4f}",
            "rate": f"{meter.rate():.1f} img/s",
            "outside network": f"{1 - self.clock.shares()['network']:.0%}",
        }

    def _indices(self, first: int) -> Iterator[NDArray[np.intp]]:
        config = self.stage.config.training
        count, batch = len(self.data.names), self.stage.settings.batch_size
        index, weights = self.stage.index, self.data.weights
        return batch_indices(count, batch, config.seed, index, first, self.total, weights)

    def _bar(self, first: int) -> tqdm[Any]:
        quiet = not self.team.first or is_quiet(logger)
        return progress_bar(self.total, self.stage.name, "step", quiet, initial=first)

    def _timed_step(self, step: int, index: NDArray[np.intp], meter: Meter, hooks: Hooks) -> bool:
        """Do a step; return whether any of several processes was asked to stop.

        Several processes must also agree on the seconds used for the time budget. They
        share them before the weight update, whose seconds are counted one step later.
        """
        start, alone = time.monotonic(), self.team.size == 1
        sent_at = start

        def own() -> list[float]:
            nonlocal sent_at
            sent_at = time.monotonic()
            return [sent_at - start + self._unshared, 0.0 if alone else float(hooks.should_stop())]

        losses, (seconds, stop) = self._step(step, index, own, hooks.urgent)
        end = time.monotonic()
        if alone:
            seconds = end - start
        else:
            self._unshared = end - sent_at
        self.position.step = step + 1
        self.position.seconds += seconds
        self.position.stage_seconds += seconds
        epochs = self.position.epochs
        epochs[self.stage.name] = epochs.get(self.stage.name, 0.0) + 1 / self.per_epoch
        meter.add(losses, len(index), seconds)
        self._watch.add(losses["loss"], step)
        self.position.first_loss = self._watch.first_loss
        return stop > 0

    def _stands(self, loss: float) -> StepReport:
        position, budget = self.position, self._budget
        left = position.stage_seconds * self._work.share_left(position.step)
        if budget is not None:
            left = min(left, max(0.0, budget - position.stage_seconds))
        return StepReport(
            self.stage.name, position.step, self.total, loss, position.stage_seconds, left
        )

    def _report(self, meter: Meter) -> EpochReport:
        step = self.position.step
        rate = self.optimizer.param_groups[0]["lr"]
        epoch = -(-step // self.per_epoch)
        averages = meter.averages()
        return EpochReport(
            self.stage.name,
            epoch,
            step,
            averages,
            rate,
            meter.seconds,
            meter.rate(),
            self.clock.shares(),
            epochs=self.stage.settings.epochs,
            seconds_left=self._stands(meter.last_loss()).seconds_left,
        )

    def _step(
        self,
        step: int,
        index: NDArray[np.intp],
        own: Callable[[], list[float]],
        urgent: Callable[[], bool],
    ) -> tuple[dict[str, float], list[float]]:
        """Do a step; return its losses, and the mean over the processes of what is `own`.

        Raises
        ------
        Cancelled
            If `urgent` aborted the step; the weights are unchanged.
        Diverged
            If the loss is NaN or infinite.
        """
        settings = self.stage.settings
        generator = self.stage.generator(step)
        # Dropout draws from the global generator; each process drops out for its own images.
        torch.manual_seed(generator.initial_seed() + self.team.rank)
        done = self.share_done()
        for group in self.optimizer.param_groups:
            rate = learning_rate(settings, *self._schedule(step, done))
            group["lr"] = group["rate"] * rate
        rows = self.team.rows(len(index))
        weight = (rows.stop - rows.start) / len(index)
        whole = GlobalBatch(
            generator, len(index), rows, lambda value: self.team.sum(value * weight)
        )
        self.clock.begin_step(step)
        with self.clock.part("augmentation"):
            # An extended run does not go back to small images.
            at = 1.0 if self.position.extended_step else done
            batch = self.stage.prepare(self._source(step, index, rows, at), whole)
        self.stage.model.train()
        self._give_up_if(urgent)
        with self.clock.part("network"):
            with autocast(self.device, self.dtype):
                losses = self._losses(batch, whole)
            if not self._has_averages:
                self._give_up_if(urgent)
            self.optimizer.zero_grad(set_to_none=True)
            self.team.backward(losses["loss"], weight)
            # Synchronise with the device once, not per value, and after the work is queued.
            figures = torch.stack([value.detach() for value in losses.values()])
            found, agreed = self.team.agree(figures, weight, own())
        values = dict(zip(losses, found, strict=True))
        # Checked before the weight update, so that the last checkpoint stays valid.
        self._watch.check_finite(values["loss"], step)
        if not self._has_averages:
            self._give_up_if(urgent)
        with self.clock.part("optimiser"):
            self._update(step)
        return values, agreed

    def _give_up_if(self, urgent: Callable[[], bool]) -> None:
        if self.team.size == 1 and urgent():
            raise Cancelled("Stopped within a step.")

    def _source(self, step: int, index: NDArray[np.intp], rows: slice, done: float) -> BatchSource:
        size = self.stage.size_at(done)
        draws = self.stage.draws(step)
        if isinstance(self.data, CanvasSet):
            raters = draw_raters(self.data, index, draws)[rows]
            return Source(self._feeders[0], index[rows], raters, size, self.clock, self.dtype)
        seeds = tuple(seed_for(draws, row) for row in range(len(index)))[rows]
        return ObjectSource(
            self.data, index[rows], seeds, size, self.clock, self.device, self.dtype
        )

    def _update(self, step: int) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.stage.config.training.gradient_clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(step)


def _adamw(
    parameters: list[nn.Parameter], stage: Stage, device: torch.device
) -> torch.optim.Optimizer:
    # One pass over all weights; on the CPU a sixth of the time of the loop over tensors.
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(_parameter_groups(parameters, stage), fused=fused)


def _parameter_groups(parameters: list[nn.Parameter], stage: Stage) -> list[dict[str, object]]:
    """Decay weights but not biases or scales; lower the rate of a pretrained encoder."""
    decay, settings = stage.settings.weight_decay, stage.settings
    slow = {id(p) for p in stage.model.pretrained_parameters()}
    encoder_rate = settings.encoder_rate if isinstance(settings, FlowConfig) else 1.0
    groups: list[dict[str, object]] = []
    for is_slow, rate in ((False, 1.0), (True, encoder_rate)):
        some = [p for p in parameters if (id(p) in slow) == is_slow]
        for is_weight, rated in ((True, decay), (False, 0.0)):
            chosen = [p for p in some if (p.ndim > 1) == is_weight]
            if chosen:
                groups.append({"params": chosen, "weight_decay": rated, "rate": rate})
    return groups
