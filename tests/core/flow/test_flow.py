"""Identities of the path and of the objective, and convergence orders of the solvers."""

from __future__ import annotations

import math

import pytest
import torch

from latentfm_core.config import SolverName
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.flow.objective import flow_matching_loss
from latentfm_core.flow.path import (
    endpoint,
    linear_path,
    mean_velocity,
    sample_times,
    steps_of_short_runs,
)
from latentfm_core.flow.solvers import integrate, nfe


def test_the_path_starts_at_noise_and_ends_at_data() -> None:
    z_0, z_1 = torch.randn(2, 5, 3, 4, 4)
    assert torch.equal(linear_path(z_0, z_1, torch.zeros(5)).z_t, z_0)
    torch.testing.assert_close(linear_path(z_0, z_1, torch.ones(5)).z_t, z_1)


def test_the_true_velocity_leads_to_the_data_from_any_time() -> None:
    z_0, z_1 = torch.randn(2, 5, 3, 4, 4)
    t = torch.rand(5)
    point = linear_path(z_0, z_1, t)
    torch.testing.assert_close(endpoint(point.z_t, point.velocity, t), z_1)


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_solvers_converge_at_their_order(solver: SolverName, order: int) -> None:
    """dz/dt = -(1 + t) z^2 from z(0) = 1 has the solution 1 / (1 + t + t^2 / 2)."""
    z = torch.ones(1, dtype=torch.float64)
    exact = 1 / 2.5

    def error(steps: int) -> float:
        *_, last = integrate(lambda t, s: -(1 + t) * s * s, z, steps, solver)
        return abs(float(last) - exact)

    assert math.log2(error(20) / error(40)) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "rk4"])
def test_nfe_counts_network_calls(solver: SolverName) -> None:
    calls = []

    def velocity(t: float, z: torch.Tensor) -> torch.Tensor:
        calls.append(t)
        return z

    assert len(list(integrate(velocity, torch.ones(1), 3, solver))) == 3
    assert len(calls) == nfe(solver, 3)
    assert min(calls) >= 0
    assert max(calls) <= 1


def test_noise_depends_on_the_seed_and_not_on_the_batch() -> None:
    together = seeded_noise([4, 5, 6], (3, 8, 8))
    alone = seeded_noise([5], (3, 8, 8))
    assert torch.equal(together[1], alone[0])
    assert abs(float(seeded_noise(range(50), (3, 8, 8)).std()) - 1) < 0.02


@pytest.mark.parametrize("kind", ["uniform", "logit_normal"])
def test_training_times_are_in_the_unit_interval(kind: str) -> None:
    t = sample_times(10_000, kind, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert float(t.min()) >= 0
    assert float(t.max()) <= 1
    assert abs(float(t.mean()) - 0.5) < 0.02


def test_the_true_velocity_has_zero_loss_and_reaches_the_data() -> None:
    torch.manual_seed(0)
    z_0, z_1 = torch.randn(2, 4, 3, 8, 8)
    t = torch.tensor([0.0, 0.2, 0.5, 0.9])
    flow = flow_matching_loss(lambda t, z: z_1 - z_0, z_0, z_1, t)
    assert flow.loss.item() == 0
    torch.testing.assert_close(flow.endpoint(), z_1)
    assert flow.endpoint(every=2).shape[0] == 2


def test_the_loss_is_the_mean_squared_error_of_the_velocity() -> None:
    torch.manual_seed(0)
    z_0, z_1 = torch.randn(2, 4, 3, 8, 8)
    t = torch.rand(4)
    seen: list[torch.Tensor] = []

    def velocity(times: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        seen.append(state)
        return torch.zeros_like(state)

    flow = flow_matching_loss(velocity, z_0, z_1, t)
    torch.testing.assert_close(flow.loss, (z_1 - z_0).square().mean())
    weight = t[:, None, None, None]
    torch.testing.assert_close(seen[0], (1 - weight) * z_0 + weight * z_1)


def test_one_step_of_the_mean_velocity_reaches_the_endpoint_of_the_flow() -> None:
    """dz/dt = -z from z(0.2) = 1; each state has its own step."""
    t, h = torch.tensor([0.2, 0.5], dtype=torch.float64), torch.tensor([0.8, 0.25]).double()
    z = torch.ones(2, 1, 1, 1, dtype=torch.float64)
    mean = mean_velocity(lambda _, state: -state, z, t, h, 64)
    landed = (z + h.reshape(-1, 1, 1, 1) * mean).flatten()
    torch.testing.assert_close(landed, torch.exp(-h), atol=1e-4, rtol=0)


def test_the_mean_velocity_of_a_constant_flow_is_its_velocity() -> None:
    z, velocity = torch.randn(2, 3, 2, 4, 4)
    mean = mean_velocity(lambda _t, _z: velocity, z, torch.zeros(3), torch.ones(3), 3)
    torch.testing.assert_close(mean, velocity)


def test_short_runs_have_equal_steps_within_the_unit_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1000, generator=generator)
    t, h = steps_of_short_runs(first, second, 2)
    assert {*zip(t.tolist(), h.tolist(), strict=True)} == {(0.0, 1.0), (0.0, 0.5), (0.5, 0.5)}
    assert float((h == 1).float().mean()) == pytest.approx(0.5, abs=0.05)
