"""The flow-matching objective against its definition."""

from __future__ import annotations

import torch

from latentfm_core.flow.objective import flow_matching_loss


def test_the_true_velocity_has_zero_loss_and_ends_at_the_data() -> None:
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
