"""Optimisation loop of the networks not trained by `latentfm_core.training`.

It matches the LatentFM trainer: AdamW without decay of biases and norms, clipped
gradients, a cosine over the time budget, the same augmentation, and averaged weights.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.accuracy.data import draw_batch
from benchmarks.accuracy.settings import OptimiserSettings
from latentfm_core.bars import is_quiet
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.inference.device import autocast, to_device
from latentfm_core.training.augment import augment
from latentfm_core.training.batches import batch_indices, generator_for, seed_for
from latentfm_core.training.divergence import Diverged
from latentfm_core.training.ema import EMA
from latentfm_core.training.global_batch import GlobalBatch

logger = logging.getLogger(__name__)

AUGMENTATION = "strong"
GRADIENT_CLIP = 1.0
WARMUP_SHARE = 0.02
"""Warm-up as a share of the budget, because rows differ in steps."""

STREAM = 7
"""Separates the random numbers from those of LatentFM's stages."""

MAX_STEPS = 10**9

StepLosses = Callable[[int, NDArray[np.intp], float], dict[str, Tensor]]
"""Map step number, image indices and used share of the budget to
named scalars; ``"loss"`` is minimised."""


class Task(Protocol):
    """Network and parameters that `optimise` changes."""

    @property
    def module(self) -> nn.Module:
        """The network."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters to optimise."""
        ...

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return those with a reduced learning rate."""
        ...


class CanvasTask(Task, Protocol):
    """A network that is trained on whole images and their masks."""

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return named scalars; ``"loss"`` is minimised."""
        ...


def optimise(
    task: Task,
    train: CanvasSet | ObjectSet,
    step_losses: StepLosses,
    settings: OptimiserSettings,
    budget: float,
    device: torch.device,
) -> dict[str, Any]:
    """Train for `budget` wall seconds and leave the averaged weights in the module.

    Parameters
    ----------
    train
        Training images; those of an `ObjectSet` are drawn by their weights.
    step_losses
        Reads the images of a step and returns the losses, for example `canvas_losses`.
    budget
        Seconds spent in steps: batch, augmentation, forward, backward and update. The step
        that crosses the budget is the last one.

    Returns
    -------
    dict
        Seconds, steps, images per second, and the mean losses of the last 50 steps.

    Raises
    ------
    Diverged
        If the loss is not finite.
    """
    parameters, optimizer = _prepare(task, settings, device)
    ema = EMA(parameters, settings.ema_decay) if settings.ema_decay else None
    weights = train.weights if isinstance(train, ObjectSet) else None
    indices = batch_indices(
        len(train.names), settings.batch_size, settings.seed, STREAM, 0, MAX_STEPS, weights
    )
    seconds, images, recent = 0.0, 0, list[dict[str, float]]()
    with tqdm(
        total=round(budget, 1),
        desc=settings.label,
        unit="s",
        mininterval=5.0,
        disable=is_quiet(logger),
    ) as bar:
        for step in itertools.count():
            start = time.monotonic()
            for group in optimizer.param_groups:
                rate = rate_at(seconds / budget, settings.learning_rate)
                group["lr"] = group["rate"] * rate
            index = next(indices)
            losses = step_losses(step, index, seconds / budget)
            values = {key: value.item() for key, value in losses.items()}
            if not math.isfinite(values["loss"]):
                raise Diverged(f"The loss of {settings.label} is not finite at step {step}.")
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
            optimizer.step()
            if ema is not None:
                ema.update(step)
            elapsed = time.monotonic() - start
            seconds += elapsed
            images += len(index)
            recent = [*recent[-49:], values]
            bar.update(min(elapsed, max(0.0, round(budget, 1) - bar.n)))
            bar.set_postfix(loss=f"{values['loss']:.4f}", step=step, refresh=False)
            if seconds >= budget:
                break
    if ema is not None:
        ema.copy_to_model()
    task.module.eval()
    logger.info("%s: %d steps in %.1f s", settings.label, step + 1, seconds)
    return {
        "seconds": seconds,
        "steps": step + 1,
        "images_per_second": images / seconds,
        "last_losses": {key: sum(row[key] for row in recent) / len(recent) for key in recent[0]},
    }


def canvas_losses(
    task: CanvasTask,
    train: CanvasSet,
    settings: OptimiserSettings,
    device: torch.device,
    dtype: torch.dtype,
) -> StepLosses:
    """Return the losses of batches of whole, augmented images."""

    def losses(step: int, index: NDArray[np.intp], done: float) -> dict[str, Tensor]:
        generator = step_generator(settings.seed, step)
        x, masks = draw_batch(train, index, device, seed_for(settings.seed, STREAM, step, 2))
        x, masks = augment(x, masks, AUGMENTATION, GlobalBatch.alone(generator, len(index)))
        with autocast(device, dtype):
            return task.losses(x.contiguous(memory_format=torch.channels_last), masks, generator)

    return losses


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random numbers of a step, and seed the global generator, which dropout uses."""
    generator = generator_for(seed, STREAM, step, 0)
    torch.manual_seed(generator.initial_seed())
    return generator


def _prepare(
    task: Task, settings: OptimiserSettings, device: torch.device
) -> tuple[list[nn.Parameter], torch.optim.AdamW]:
    """Return the trained parameters and their optimiser; the rest of the module is frozen."""
    to_device(task.module, device).train()
    parameters = task.parameters()
    task.module.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    groups = _parameter_groups(parameters, task.pretrained_parameters(), settings)
    return parameters, torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))


def rate_at(done: float, peak: float) -> float:
    """Return the learning rate at the share `done` of the budget: rise, cosine to 1 %."""
    if done < WARMUP_SHARE:
        return peak * (0.01 + 0.99 * done / WARMUP_SHARE)
    phase = min(1.0, (done - WARMUP_SHARE) / (1 - WARMUP_SHARE))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase)))


def _parameter_groups(
    parameters: list[nn.Parameter], pretrained: Iterable[nn.Parameter], settings: OptimiserSettings
) -> list[dict[str, object]]:
    """Decay weights but not biases or scales; lower the rate of pretrained parameters."""
    slow = {id(p) for p in pretrained}
    groups: list[dict[str, object]] = []
    for is_slow, rate in ((False, 1.0), (True, settings.encoder_rate)):
        for is_weight, decay in ((True, settings.weight_decay), (False, 0.0)):
            chosen = [
                p for p in parameters if (id(p) in slow) == is_slow and (p.ndim > 1) == is_weight
            ]
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "rate": rate})
    return groups
