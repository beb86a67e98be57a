"""Image indices and random seeds of each training step.

Every random choice follows from (seed, stage, step): no generator state has to be stored,
and a resumed run sees exactly the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.datasets.in_memory import CanvasSet


def seed_for(*key: int) -> int:
    """Return a well-mixed 63-bit seed for a tuple of non-negative integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator_for(*key: int) -> torch.Generator:
    """Return a CPU generator that depends on the key alone."""
    return torch.Generator().manual_seed(seed_for(*key))


def draw_raters(canvases: CanvasSet, index: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return one rater at random for each image (Kohl et al. 2018, sec. 3)."""
    return np.random.default_rng(seed).integers(canvases.raters[index])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of full batches in an epoch, at least one."""
    return max(1, count // batch_size)


def batch_indices(
    count: int,
    batch_size: int,
    seed: int,
    stage: int,
    first_step: int,
    last_step: int,
    weights: NDArray[np.float64] | None = None,
) -> Iterator[NDArray[np.intp]]:
    """Yield the image indices of each step.

    Every epoch is a new permutation; with `weights`, the chance of each image, they are drawn
    independently of each other.
    """
    if weights is not None:
        for step in range(first_step, last_step):
            rng = np.random.default_rng(seed_for(seed, stage, step, 1))
            yield rng.choice(count, batch_size, p=weights)
        return
    per_epoch = steps_per_epoch(count, batch_size)
    epoch, order = -1, np.arange(count)
    for step in range(first_step, last_step):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = np.random.default_rng(seed_for(seed, stage, epoch, 1)).permutation(count)
        start = step % per_epoch * batch_size
        yield order[start : start + batch_size]
