"""Initial noise: one seed per sample, so that results do not depend on the batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def seeded_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return ``(len(seeds), *shape)`` standard normal noise on the CPU, float32.

    Sample n depends on ``seeds[n]`` alone. The CPU generator is used on every device, so
    that a seed means the same noise on all of them.
    """
    draws = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        draws.append(torch.randn(shape, generator=generator))
    return torch.stack(draws)


FIELD_BLOCK = 32
"""Side of the blocks of `field_noise`; changing it changes the noise."""


def field_noise(
    seeds: Sequence[int], channels: int, top: int, left: int, side: tuple[int, int]
) -> Tensor:
    """Return a crop of an unbounded field of standard normal noise for each seed.

    Crops agree where they overlap, in any order: the field consists of blocks drawn from (seed,
    block row, block column) alone, and nothing is cached. The first block is `seeded_noise`: an
    image of exactly one block starts from the same noise as without a field.

    Parameters
    ----------
    channels
        c.
    top, left
        Origin of the crop, 0 or more.
    side
        ``(h, w)`` of the crop.

    Returns
    -------
    Tensor
        ``(len(seeds), c, h, w)`` float32 on the CPU.
    """
    height, width = side
    noise = torch.empty((len(seeds), channels, height, width))
    for row in range(top // FIELD_BLOCK, -(-(top + height) // FIELD_BLOCK)):
        for column in range(left // FIELD_BLOCK, -(-(left + width) // FIELD_BLOCK)):
            own_y, y = _shared(row, top, height)
            own_x, x = _shared(column, left, width)
            for index, seed in enumerate(seeds):
                block = _block(seed, channels, row, column)
                noise[index, :, y, x] = block[:, own_y, own_x]
    return noise


def _block(seed: int, channels: int, row: int, column: int) -> Tensor:
    if row == column == 0:
        return seeded_noise([seed], (channels, FIELD_BLOCK, FIELD_BLOCK))[0]
    mixed = np.random.SeedSequence((seed, row, column)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(mixed[0]) >> 1)
    return torch.randn((channels, FIELD_BLOCK, FIELD_BLOCK), generator=generator)


def _shared(block: int, start: int, length: int) -> tuple[slice, slice]:
    """Return the overlap of a block and a crop along an axis, as slices of each."""
    first = max(start, block * FIELD_BLOCK)
    last = min(start + length, (block + 1) * FIELD_BLOCK)
    offset = block * FIELD_BLOCK
    return slice(first - offset, last - offset), slice(first - start, last - start)
