"""Initial noise: one seed per sample, so that results do not depend on the batch size."""

from __future__ import annotations

from collections.abc import Sequence

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
