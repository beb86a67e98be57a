"""The probability path that carries noise to mask latents, and the mean velocity over a step."""

from __future__ import annotations

from collections.abc import Callable
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


VelocityAtTimes = Callable[[Tensor, Tensor], Tensor]
"""``v(t, z_t)`` for times ``(B,)`` and states ``(B, c, h, w)``, at a fixed condition."""


def mean_velocity(velocity: VelocityAtTimes, z: Tensor, t: Tensor, h: Tensor, steps: int) -> Tensor:
    """Return (z_{t+h} - z_t) / h along the flow, by `steps` midpoint steps.

    With it, one Euler step of length h ends where the flow does (Geng et al. 2025, eq. 3, who
    call it the average velocity; it is the flow map of Boffi et al. 2024 over its step).

    Parameters
    ----------
    velocity
        The trained flow at times ``(B,)`` for states ``(B, c, h, w)``.
    z
        States ``(B, c, h, w)`` at `t`.
    t, h
        Start and length ``(B,)`` of each state's own step, t + h <= 1.
    """
    state = z
    part = h / steps
    spread = part.reshape(-1, *[1] * (z.ndim - 1))
    for step in range(steps):
        start = t + step * part
        middle = state + 0.5 * spread * velocity(start, state)
        state = state + spread * velocity(start + 0.5 * part, middle)
    return (state - z) / (spread * steps)


def steps_of_short_runs(first: Tensor, second: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Return starts and lengths ``(B,)`` of steps that runs of few Euler steps take.

    A run of n steps, n from 1 to `longest`, has the steps [k / n, (k + 1) / n]; the number of
    steps is drawn first, so that each kind of run is learned from equally many.

    Parameters
    ----------
    first, second
        Uniform random numbers ``(B,)`` in [0, 1) that choose n and k.
    """
    n = 1 + (first * longest).floor()
    k = (second * n).floor()
    return k / n, 1.0 / n
