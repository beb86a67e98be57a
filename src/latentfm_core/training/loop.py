"""The optimisation loop of one stage: resumable, interruptible, and measured."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.data.loading import CanvasSet
from latentfm_core.errors import LatentFMError
from latentfm_core.inference.device import autocast
from latentfm_core.training.batches import batch_indices, draw_raters, steps_per_epoch, to_batch
from latentfm_core.training.checkpoint import Checkpoint, Position
from latentfm_core.training.ema import EMA
from latentfm_core.training.stages import Stage, freeze_except, learning_rate

logger = logging.getLogger(__name__)


class Diverged(LatentFMError):
    """The loss is no longer a number."""


@dataclass
class EpochReport:
    """Averages of one epoch.

    Attributes
    ----------
    stage, epoch, step
        Position; `epoch` counts from 1.
    losses
        Mean of each named loss.
    learning_rate
        At the end of the epoch.
    seconds, images_per_second
        Wall time and rate of the optimisation.
    """

    stage: str
    epoch: int
    step: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    images_per_second: float
    validation: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StepReport:
    """Where a stage stands after a step.

    Attributes
    ----------
    stage
        Name of the stage.
    step, total
        Steps finished, and steps of the stage if no time budget ends it before.
    loss
        Of the step's batch.
    seconds, seconds_left
        Optimisation time of the stage so far, and an estimate of what is left: the work of
        a step is taken to grow with the pixels of its images.
    """

    stage: str
    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float


def ignore(_: object) -> None:
    """Do nothing with a report."""


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
    device, dtype
        Where and in which format to compute.
    """

    def __init__(
        self,
        stage: Stage,
        data: CanvasSet,
        position: Position,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage = stage
        self.data = data
        self.position = position
        self.device = device
        self.dtype = dtype
        parameters = stage.parameters()
        freeze_except(stage.model, parameters)
        self.optimizer = torch.optim.AdamW(_decay_groups(parameters, stage.settings.weight_decay))
        settings = stage.settings
        decay = settings.ema_decay if isinstance(settings, FlowConfig | DistillConfig) else 0.0
        self.ema = EMA(parameters, decay) if decay else None
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
        name, first = self.stage.name, self.position.step
        saved = time.monotonic()
        with tqdm(total=self.total, initial=first, desc=name, unit="step", mininterval=1.0) as bar:
            meter = _Meter()
            for step, index in enumerate(self._indices(first), start=first):
                self._timed_step(step, index, meter)
                bar.update()
                if (step + 1) % 10 == 0:
                    bar.set_postfix(loss=f"{meter.latest():.4f}", rate=f"{meter.rate():.1f} img/s")
                hooks.end_of_step(self._stands(meter.last_loss()))
                over = self.share_done() >= 1
                if over or (step + 1) % self.per_epoch == 0:
                    hooks.end_of_epoch(self, self._report(meter))
                    meter = _Meter()
                if over:
                    return True
                if hooks.should_stop():
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

    def _indices(self, first: int) -> Iterator[NDArray[np.intp]]:
        config = self.stage.config.training
        count, batch = len(self.data.names), self.stage.settings.batch_size
        return batch_indices(count, batch, config.seed, self.stage.index, first, self.total)

    def _timed_step(self, step: int, index: NDArray[np.intp], meter: _Meter) -> None:
        start = time.monotonic()
        losses = self._step(step, index)
        seconds = time.monotonic() - start
        self.position.step = step + 1
        self.position.seconds += seconds
        self.position.stage_seconds += seconds
        meter.add(losses, len(index), seconds)

    def _stands(self, loss: float) -> StepReport:
        position, budget = self.position, self.stage.settings.max_seconds
        done, whole = self._work[position.step], self._work[-1]
        left = position.stage_seconds * float((whole - done) / done)
        if budget is not None:
            left = min(left, max(0.0, budget - position.stage_seconds))
        return StepReport(
            self.stage.name, position.step, self.total, loss, position.stage_seconds, left
        )

    def _report(self, meter: _Meter) -> EpochReport:
        step = self.position.step
        rate = self.optimizer.param_groups[0]["lr"]
        epoch = -(-step // self.per_epoch)
        averages = meter.averages()
        return EpochReport(
            self.stage.name, epoch, step, averages, rate, meter.seconds, meter.rate()
        )

    def _step(self, step: int, index: NDArray[np.intp]) -> dict[str, float]:
        settings = self.stage.settings
        generator = self.stage.generator(step)
        # Dropout draws from the global generator.
        torch.manual_seed(generator.initial_seed())
        done = self.share_done()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, done, self.total)
        batch = to_batch(
            self.data,
            index,
            self.stage.size_at(done),
            self.device,
            step,
            raters=draw_raters(self.data, index, self.stage.draws(step)),
            channels=self.stage.config.model.mask_channels,
        )
        self.stage.model.train()
        with autocast(self.device, self.dtype):
            losses = self.stage.losses(batch, generator)
        values = {key: value.item() for key, value in losses.items()}
        if not math.isfinite(values["loss"]):
            # Before the weights take it in: the last checkpoint stays good.
            raise Diverged(
                f"The loss of stage {self.stage.name} is not finite at step {step}. Lower its "
                "learning_rate, or use --precision fp32; --resume goes on from the last "
                "checkpoint."
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.stage.config.training.gradient_clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(step)
        return values


def _decay_groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Decay weights but neither biases nor normalisation scales."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class _Meter:
    """Averages of the losses, and images per second of optimisation."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._rows: list[dict[str, float]] = []
        self._images = 0

    def add(self, losses: dict[str, float], images: int, seconds: float) -> None:
        self._rows.append(losses)
        self._images += images
        self.seconds += seconds

    def latest(self) -> float:
        return float(np.mean([row["loss"] for row in self._rows[-20:]]))

    def last_loss(self) -> float:
        return self._rows[-1]["loss"]

    def averages(self) -> dict[str, float]:
        return {key: float(np.mean([row[key] for row in self._rows])) for key in self._rows[0]}

    def rate(self) -> float:
        return self._images / max(self.seconds, 1e-9)
