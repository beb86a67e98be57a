"""The optimisation loop of one stage: resumable, interruptible, and measured."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import ConfigError, LatentFMError
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
from latentfm_core.training.ema import EMA
from latentfm_core.training.globalbatch import GlobalBatch
from latentfm_core.training.meters import EpochReport, EpochSums, Meter, StepReport, ignore
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.stage import BatchSource
from latentfm_core.training.stages import Stage, freeze_except, learning_rate
from latentfm_core.training.step_timer import PartsClock

logger = logging.getLogger(__name__)


class Diverged(LatentFMError):
    """The loss is no longer a number."""


@dataclass
class Hooks:
    """What the loop calls back.

    Attributes
    ----------
    should_stop
        Asked after every step; True ends the loop after saving.
    save
        Writes a checkpoint.
    end_of_epoch
        Gets the report and may add validation figures to it.
    end_of_step
        Gets where the stage stands.
    """

    should_stop: Callable[[], bool]
    save: Callable[[StageLoop], None]
    end_of_epoch: Callable[[StageLoop, EpochReport], None]
    end_of_step: Callable[[StepReport], None] = ignore


class StageLoop:
    """Runs one stage from where `position` stands to its end.

    Parameters
    ----------
    stage
        What to optimise.
    data
        Training images.
    position
        Updated after every step.
    team
        The processes that share each batch, and where this one computes.
    dtype
        In which format to compute.

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
        pixels = [stage.size_at(step / self.total) ** 2 for step in range(self.total)]
        self._work = np.concatenate([[0], np.cumsum(pixels)])

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take optimiser and averages from a checkpoint of this stage."""
        checkpoint.restore_optimizer(self.optimizer)
        if self.ema is not None:
            checkpoint.restore_ema(self.ema)

    def run(self, hooks: Hooks, save_every: float) -> bool:
        """Optimise to the end; return False if it was stopped before.

        Parameters
        ----------
        hooks
            Callbacks.
        save_every
            Seconds between checkpoints.
        """
        first = self.position.step
        saved = time.monotonic()
        with self._bar(first) as bar:
            meter = Meter(self.position.epoch)
            for step, index in enumerate(self._indices(first), start=first):
                stop = self._timed_step(step, index, meter, hooks.should_stop)
                bar.update()
                if (step + 1) % 10 == 0:
                    bar.set_postfix(self._postfix(meter))
                hooks.end_of_step(self._stands(meter.last_loss()))
                over = self.share_done() >= 1
                if over or (step + 1) % self.per_epoch == 0:
                    hooks.end_of_epoch(self, self._report(meter))
                    self.position.epoch = EpochSums()
                    meter = Meter(self.position.epoch)
                    self.clock.reset()
                if over:
                    return True
                if stop or (self.team.size == 1 and hooks.should_stop()):
                    hooks.save(self)
                    return False
                if time.monotonic() - saved > save_every:
                    hooks.save(self)
                    saved = time.monotonic()
        return True

    def share_done(self) -> float:
        """Return the share of the stage that is over: of its steps or of its time budget."""
        budget = self.stage.settings.max_seconds
        steps = self.position.step / max(1, self.total)
        return steps if budget is None else max(steps, self.position.stage_seconds / budget)

    def _postfix(self, meter: Meter) -> dict[str, str]:
        return {
            "loss": f"{meter.latest():.4f}",
            "rate": f"{meter.rate():.1f} img/s",
            "outside network": f"{1 - self.clock.shares()['network']:.0%}",
        }

    def _indices(self, first: int) -> Iterator[NDArray[np.intp]]:
        config = self.stage.config.training
        count, batch = len(self.data.names), self.stage.settings.batch_size
        weights = self.data.weights if isinstance(self.data, ObjectSet) else None
        return batch_indices(
            count, batch, config.seed, self.stage.index, first, self.total, weights
        )

    def _bar(self, first: int) -> tqdm[Any]:
        return tqdm(
            total=self.total,
            initial=first,
            desc=self.stage.name,
            unit="step",
            mininterval=1.0,
            disable=not self.team.first,
        )

    def _timed_step(
        self, step: int, index: NDArray[np.intp], meter: Meter, should_stop: Callable[[], bool]
    ) -> bool:
        """Do a step; return whether one of several processes was asked to stop.

        Several processes must agree on the seconds too, by which a time budget ends. They
        tell them before the update of the weights, whose own seconds follow a step later.
        """
        start, alone = time.monotonic(), self.team.size == 1
        told_at = start

        def own() -> list[float]:
            nonlocal told_at
            told_at = time.monotonic()
            return [told_at - start + self._unshared, 0.0 if alone else float(should_stop())]

        losses, (seconds, stop) = self._step(step, index, own)
        end = time.monotonic()
        if alone:
            seconds = end - start
        else:
            self._unshared = end - told_at
        self.position.step = step + 1
        self.position.seconds += seconds
        self.position.stage_seconds += seconds
        meter.add(losses, len(index), seconds)
        return stop > 0

    def _stands(self, loss: float) -> StepReport:
        position, budget = self.position, self.stage.settings.max_seconds
        done, whole = self._work[position.step], self._work[-1]
        left = position.stage_seconds * float((whole - done) / done)
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
        )

    def _step(
        self, step: int, index: NDArray[np.intp], own: Callable[[], list[float]]
    ) -> tuple[dict[str, float], list[float]]:
        """Do a step; return its losses, and the mean over the processes of what is `own`."""
        settings = self.stage.settings
        generator = self.stage.generator(step)
        # Dropout draws from the global generator; each process drops out for its own images.
        torch.manual_seed(generator.initial_seed() + self.team.rank)
        done = self.share_done()
        for group in self.optimizer.param_groups:
            rate = learning_rate(settings, step, done, self.total)
            group["lr"] = group["rate"] * rate
        rows = self.team.rows(len(index))
        weight = (rows.stop - rows.start) / len(index)
        whole = GlobalBatch(
            generator, len(index), rows, lambda value: self.team.sum(value * weight)
        )
        self.clock.begin_step(step)
        with self.clock.part("augmentation"):
            batch = self.stage.prepare(self._source(step, index, rows, done), whole)
        self.stage.model.train()
        with self.clock.part("network"):
            with autocast(self.device, self.dtype):
                losses = self._losses(batch, whole)
            self.optimizer.zero_grad(set_to_none=True)
            self.team.backward(losses["loss"], weight)
            # One wait for the device instead of one for each value, and after the work is queued.
            figures = torch.stack([value.detach() for value in losses.values()])
            found, agreed = self.team.agree(figures, weight, own())
        values = dict(zip(losses, found, strict=True))
        if not math.isfinite(values["loss"]):
            # Before the weights take it in: the last checkpoint stays good.
            raise Diverged(
                f"The loss of stage {self.stage.name} is not finite at step {step}. Lower its "
                "learning_rate, or use --precision fp32; --resume goes on from the last "
                "checkpoint."
            )
        with self.clock.part("optimiser"):
            self._update(step)
        return values, agreed

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
    """Decay weights but neither biases nor scales; slow down a pretrained encoder."""
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
