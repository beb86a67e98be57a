"""Decoded training images in memory, and the random numbers of each step.

Every random choice follows from (seed, stage, step): no generator state has to be stored,
and a resumed run sees exactly the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.data.loading import CanvasSet
from latentfm_core.models.onehot import harden, one_hot


def seed_for(*key: int) -> int:
    """Return a well-mixed 63-bit seed for a tuple of non-negative integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator_for(*key: int) -> torch.Generator:
    """Return a CPU generator that depends on the key alone."""
    return torch.Generator().manual_seed(seed_for(*key))


@dataclass(frozen=True)
class Batch:
    """One training batch: ``(B, 3, S, S)`` and ``(B, K, S, S)`` float32, and its step.

    K = 1 for binary masks, else they are one-hot with the background first.
    """

    images: Tensor
    masks: Tensor
    step: int


def _resize(images: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    if images.shape[-1] == size:
        return images, masks
    shape = (size, size)
    images = F.interpolate(images, shape, mode="bilinear", antialias=True)
    masks = F.interpolate(masks, shape, mode="bilinear", antialias=True)
    return images.clamp(0, 1), harden(masks)


def draw_raters(canvases: CanvasSet, index: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return one rater at random for each image (Kohl et al. 2018, sec. 3)."""
    return np.random.default_rng(seed).integers(canvases.raters[index])


def to_batch(
    canvases: CanvasSet,
    index: NDArray[np.intp],
    size: int,
    device: torch.device,
    step: int = 0,
    *,
    raters: NDArray[np.intp] | None = None,
    channels: int = 1,
) -> Batch:
    """Return the images at `index` as a batch of side `size` on `device`.

    Parameters
    ----------
    raters
        Whose mask is taken for each image; None takes the first.
    channels
        Channels K of the masks.
    """
    chosen = np.zeros_like(index) if raters is None else raters
    images = torch.from_numpy(canvases.images[index]).to(device)
    masks = one_hot(torch.from_numpy(canvases.masks[index, chosen]).to(device), channels)
    x, s = _resize(images.permute(0, 3, 1, 2).float() / 255, masks, size)
    return Batch(x, s, step)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of full batches in an epoch, at least one."""
    return max(1, count // batch_size)


def batch_indices(
    count: int, batch_size: int, seed: int, stage: int, first_step: int, last_step: int
) -> Iterator[NDArray[np.intp]]:
    """Yield the image indices of each step; every epoch is a new permutation."""
    per_epoch = steps_per_epoch(count, batch_size)
    epoch, order = -1, np.arange(count)
    for step in range(first_step, last_step):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = np.random.default_rng(seed_for(seed, stage, epoch, 1)).permutation(count)
        start = step % per_epoch * batch_size
        yield order[start : start + batch_size]
