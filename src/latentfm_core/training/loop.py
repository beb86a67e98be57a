"""The optimisation loop of one stage: resumable, interruptible, and measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from latentfm_core.config import FlowConfig
from latentfm_core.data.loading import CanvasSet
from latentfm_core.errors import LatentFMError
from latentfm_core.inference.device import autocast
from latentfm_core.training.batches import batch_indices, steps_per_epoch, to_batch
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
    """

    should_stop: Callable[[], bool]
    save: Callable[[StageLoop], None]
    end_of_epoch: Callable[[StageLoop, EpochReport], None]


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
        decay = settings.ema_decay if isinstance(settings, FlowConfig) else 0.0
        self.ema = EMA(parameters, decay) if decay else None
        self.per_epoch = steps_per_epoch(len(data.names), settings.batch_size)
        self.total = self.per_epoch * settings.epochs

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
        name, settings = self.stage.name, self.stage.settings
        seed = self.stage.config.training.seed
        saved = time.monotonic()
        first = self.position.step
        indices = batch_indices(
            len(self.data.names), settings.batch_size, seed, self.stage.index, first, self.total
        )
        with tqdm(total=self.total, initial=first, desc=name, unit="step", mininterval=1.0) as bar:
            meter = _Meter()
            for step, index in enumerate(indices, start=first):
                losses = self._step(step, index)
                self.position.step = step + 1
                meter.add(losses, len(index))
                bar.update()
                if (step + 1) % 10 == 0:
                    bar.set_postfix(loss=f"{meter.latest():.4f}", rate=f"{meter.rate():.1f} img/s")
                if (step + 1) % self.per_epoch == 0:
                    self._finish_epoch(meter, hooks)
                    meter = _Meter()
                if hooks.should_stop():
                    hooks.save(self)
                    return False
                if time.monotonic() - saved > save_every:
                    hooks.save(self)
                    saved = time.monotonic()
        return True

    def _finish_epoch(self, meter: _Meter, hooks: Hooks) -> None:
        step = self.position.step
        averages = meter.averages()
        if not np.isfinite(averages["loss"]):
            raise Diverged(
                f"The loss of stage {self.stage.name} is not finite after step {step}. "
                "Lower its learning_rate, or use --precision fp32; then --resume goes on "
                "from the last checkpoint."
            )
        self.position.seconds += meter.seconds()
        report = EpochReport(
            self.stage.name,
            step // self.per_epoch,
            step,
            averages,
            self.optimizer.param_groups[0]["lr"],
            meter.seconds(),
            meter.rate(),
        )
        hooks.end_of_epoch(self, report)

    def _step(
        self, step: int, index: np.ndarray[tuple[int], np.dtype[np.intp]]
    ) -> dict[str, float]:
        settings = self.stage.settings
        generator = self.stage.generator(step)
        # Dropout draws from the global generator.
        torch.manual_seed(generator.initial_seed())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, self.total)
        size = self.stage.size_at(step // self.per_epoch)
        batch = to_batch(self.data, index, size, self.device, step)
        self.stage.model.train()
        with autocast(self.device, self.dtype):
            losses = self.stage.losses(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.stage.config.training.gradient_clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(step)
        return {key: value.item() for key, value in losses.items()}


def _decay_groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Decay weights but neither biases nor normalisation scales."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class _Meter:
    """Averages of the losses, and images per second."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._rows: list[dict[str, float]] = []
        self._images = 0

    def add(self, losses: dict[str, float], images: int) -> None:
        self._rows.append(losses)
        self._images += images

    def latest(self) -> float:
        return float(np.mean([row["loss"] for row in self._rows[-20:]]))

    def averages(self) -> dict[str, float]:
        return {key: float(np.mean([row[key] for row in self._rows])) for key in self._rows[0]}

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def rate(self) -> float:
        return self._images / max(self.seconds(), 1e-9)
