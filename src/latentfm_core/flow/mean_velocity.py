"""Mean velocity of a flow over a step, the target of the few-step network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]


def mean_velocity(velocity: Velocity, z: Tensor, t: Tensor, h: Tensor, steps: int) -> Tensor:
    """Return (z_{t+h} - z_t) / h along the flow, by `steps` midpoint steps.

    With it, one Euler step of length h lands where the flow does (Geng et al. 2025, eq. 3, who
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
