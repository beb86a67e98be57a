"""The flow-matching objective of the velocity network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from latentfm_core.flow.path import VelocityAtTimes, endpoint, linear_path


@dataclass(frozen=True)
class FlowMatching:
    """The objective at one batch of (t, z_0, z_1).

    Attributes
    ----------
    loss
        Scalar.
    z_t, velocity
        States on the path and the network's output there, ``(B, c, h, w)``.
    t
        Times ``(B,)``.
    """

    loss: Tensor
    z_t: Tensor
    velocity: Tensor
    t: Tensor

    def endpoint(self, every: int = 1) -> Tensor:
        """Return the one-step estimate of z_1 for each `every`-th row."""
        return endpoint(self.z_t, self.velocity, self.t)[::every]


def flow_matching_loss(
    velocity: VelocityAtTimes, z_0: Tensor, z_1: Tensor, t: Tensor
) -> FlowMatching:
    """Return E || v(t, z_t) - (z_1 - z_0) ||^2 with z_t = (1 - t) z_0 + t z_1.

    Conditional flow matching (Lipman et al. 2023, eq. 23) on mask latents (arXiv 2512.04821).

    Parameters
    ----------
    velocity
        The network, conditioned on the batch.
    z_0, z_1
        Noise and mask latents ``(B, c, h, w)``.
    t
        Times ``(B,)`` in [0, 1].
    """
    point = linear_path(z_0, z_1, t)
    predicted = velocity(t, point.z_t)
    return FlowMatching(F.mse_loss(predicted, point.velocity), point.z_t, predicted, t)
