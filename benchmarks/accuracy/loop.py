"""The optimisation loop of all networks that are not trained by `latentfm_core.training`.

It does what the LatentFM trainer does: AdamW without decay of biases and norms, clipped
gradients, a cosine over the time budget, the same augmentation, and averaged weights.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.accuracy.data import draw_batch
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.inference.device import autocast, to_device
from latentfm_core.training.augment import augment
from latentfm_core.training.batches import batch_indices, generator_for, seed_for
from latentfm_core.training.ema import EMA
from latentfm_core.training.globalbatch import GlobalBatch
from latentfm_core.training.loop import Diverged

logger = logging.getLogger(__name__)

AUGMENTATION = "strong"
GRADIENT_CLIP = 1.0
WARMUP_SHARE = 0.02
"""Share of the budget in which the rate rises: a share, because rows differ in steps."""

STREAM = 7
"""Sets the random numbers apart from those of LatentFM's stages."""

MAX_STEPS = 10**9


class Task(Protocol):
    """What `optimise` needs of a network."""

    @property
    def module(self) -> nn.Module:
        """The network."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """Return what the optimiser may change."""
        ...

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return named scalars; ``"loss"`` is followed."""
        ...


def optimise(
    task: Task,
    train: CanvasSet,
    settings: RunSettings,
    budget: float,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Train for `budget` wall seconds and leave the averaged weights in the module.

    Parameters
    ----------
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
    parameters, optimizer = _prepare(task, settings.weight_decay, device)
    ema = EMA(parameters, settings.ema_decay) if settings.ema_decay else None
    indices = batch_indices(
        len(train.names), settings.batch_size, settings.seed, STREAM, 0, MAX_STEPS
    )
    seconds, images, recent = 0.0, 0, list[dict[str, float]]()
    with tqdm(total=round(budget, 1), desc=settings.label, unit="s", mininterval=5.0) as bar:
        for step in itertools.count():
            start = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = rate_at(seconds / budget, settings.learning_rate)
            index = next(indices)
            losses = _losses(task, train, settings, step, index, device, dtype)
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


def _prepare(
    task: Task, weight_decay: float, device: torch.device
) -> tuple[list[nn.Parameter], torch.optim.AdamW]:
    """Return what is trained, and what trains it; all else of the module is held still."""
    to_device(task.module, device).train()
    parameters = task.parameters()
    task.module.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    groups = _decay_groups(parameters, weight_decay)
    return parameters, torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))


def _losses(
    task: Task,
    train: CanvasSet,
    settings: RunSettings,
    step: int,
    index: NDArray[np.intp],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the losses of one batch, whose random numbers belong to the step."""
    generator = generator_for(settings.seed, STREAM, step, 0)
    # Dropout draws from the global generator.
    torch.manual_seed(generator.initial_seed())
    x, masks = draw_batch(train, index, device, seed_for(settings.seed, STREAM, step, 2))
    x, masks = augment(x, masks, AUGMENTATION, GlobalBatch.alone(generator, len(index)))
    with autocast(device, dtype):
        return task.losses(x.contiguous(memory_format=torch.channels_last), masks, generator)


def rate_at(done: float, peak: float) -> float:
    """Return the learning rate at the share `done` of the budget: rise, cosine to 1 %."""
    if done < WARMUP_SHARE:
        return peak * (0.01 + 0.99 * done / WARMUP_SHARE)
    phase = min(1.0, (done - WARMUP_SHARE) / (1 - WARMUP_SHARE))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase)))


def _decay_groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
