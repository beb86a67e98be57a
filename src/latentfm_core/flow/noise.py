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
"""Side of the blocks of `field_noise`; another one would be another noise."""


def field_noise(
    seeds: Sequence[int], channels: int, top: int, left: int, side: tuple[int, int]
) -> Tensor:
    """Return a crop of an endless field of standard normal noise for each seed.

    Any two crops agree where they overlap, in whatever order they are taken: the field consists
    of blocks that are drawn from (seed, block row, block column) alone, and none of it is kept.
    The first block is `seeded_noise`: a picture that one block covers starts from the same noise
    as it would without a field.

    Parameters
    ----------
    channels
        c.
    top, left
        Where the crop begins, 0 or more.
    side
        Its ``(h, w)``.

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
    """Return what a block and a crop share along an axis, as places in each of them."""
    first = max(start, block * FIELD_BLOCK)
    last = min(start + length, (block + 1) * FIELD_BLOCK)
    offset = block * FIELD_BLOCK
    return slice(first - offset, last - offset), slice(first - start, last - start)
