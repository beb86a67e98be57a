"""The probability path that carries noise to mask latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PathSample:
    """A point on the path: state z_t and the velocity to regress there."""

    z_t: Tensor
    velocity: Tensor


def linear_path(z_0: Tensor, z_1: Tensor, t: Tensor) -> PathSample:
    """Conditional optimal transport path with sigma_min = 0 (Lipman et al. 2023, eq. 22).

    z_t = (1 - t) z_0 + t z_1, with velocity z_1 - z_0.

    Parameters
    ----------
    z_0, z_1
        Noise and data ``(B, ...)``.
    t
        Times ``(B,)`` in [0, 1].
    """
    weight = t.reshape(-1, *[1] * (z_0.ndim - 1))
    return PathSample(torch.lerp(z_0, z_1, weight), z_1 - z_0)


def endpoint(z_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """Return the one-step estimate of z_1, z_t + (1 - t) v."""
    weight = (1 - t).reshape(-1, *[1] * (z_t.ndim - 1))
    return z_t + weight * velocity


def sample_times(count: int, kind: str, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw ``(count,)`` training times.

    ``"uniform"`` on [0, 1], or ``"logit_normal"``: sigmoid of a standard normal, which puts
    more weight on the middle of the path (Esser et al. 2024, eq. 19).
    """
    if kind == "logit_normal":
        return torch.randn(count, generator=generator, device=device).sigmoid()
    return torch.rand(count, generator=generator, device=device)
