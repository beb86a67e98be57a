"""Explicit Runge-Kutta solvers for dz/dt = v(t, z) on [0, 1], independent of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from latentfm_core.config import SolverName

Velocity = Callable[[float, Tensor], Tensor]
"""``v(t, z_t)`` at one time for states ``(B, c, h, w)``, at a fixed condition."""


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of an explicit method (Hairer, Norsett & Wanner 1993, ch. II.1).

    Attributes
    ----------
    nodes
        c_i, position in the step at which each stage evaluates the velocity.
    stages
        a_ij for i > j; row i has i entries.
    weights
        b_i of the final combination.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


TABLEAUS: dict[SolverName, Tableau] = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun": Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}


def nfe(solver: SolverName, steps: int) -> int:
    """Return the number of velocity evaluations of `steps` steps."""
    return len(TABLEAUS[solver].weights) * steps


def _combine(z: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: float) -> Tensor:
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            z = z.add(slope, alpha=h * weight)
    return z


def integrate(velocity: Velocity, z: Tensor, steps: int, solver: SolverName) -> Iterator[Tensor]:
    """Yield the state after each of `steps` equal steps from t = 0 to t = 1.

    As a generator, it returns control after every step: the caller can report progress or stop.
    """
    tableau = TABLEAUS[solver]
    h = 1.0 / steps
    for step in range(steps):
        slopes: list[Tensor] = []
        for node, row in zip(tableau.nodes, tableau.stages, strict=True):
            slopes.append(velocity((step + node) * h, _combine(z, slopes, row, h)))
        z = _combine(z, slopes, tableau.weights, h)
        yield z
