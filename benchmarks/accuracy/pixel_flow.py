"""Flow matching on mask pixels, to isolate the effect of the latent space.

References
----------
Y. Lipman et al.: Flow matching for generative modeling. ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.flow.path import linear_path
from latentfm_core.flow.solvers import integrate, nfe
from latentfm_core.models.velocity import VelocityNetwork

WIDTHS = (32, 64, 128, 256, 320)
BLOCKS = 1


class PixelFlow(Baseline):
    """A time-dependent U-Net on noise and image; the mask is -1 or 1.

    It is LatentFM's velocity network with more levels. Its image enters by a convolution
    whose output is added to that of the noisy mask's: the same as one convolution of both
    concatenated.
    """

    module: VelocityNetwork

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.module = VelocityNetwork(1, WIDTHS, BLOCKS, (3,))

    @property
    def nfe(self) -> int:
        """Evaluations of the network per sample."""
        return nfe(self.settings.solver, self.settings.sampler_steps)

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the mean squared error of the velocity."""
        target = masks * 2 - 1
        count = len(target)
        # One time in each of `count` equal intervals, as LatentFM's stage draws them.
        t = torch.rand(count, generator=generator) + torch.randperm(count, generator=generator)
        t = (t / count).to(target.device)
        noise = torch.randn(target.shape, generator=generator).to(target.device)
        point = linear_path(noise, target, t)
        maps = self.module.condition_maps([images * 2 - 1])
        return {"loss": F.mse_loss(self.module(t, point.z_t, maps), point.velocity)}

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return (x + 1) / 2 of the states x at t = 1, cut to [0, 1]."""
        maps = self.module.condition_maps([image * 2 - 1])
        x = seeded_noise(seeds, (1, *image.shape[-2:])).to(image.device)

        def velocity(t: float, state: Tensor) -> Tensor:
            times = torch.full((len(state),), t, device=state.device)
            slope: Tensor = self.module(times, state, maps)
            return slope

        for state in integrate(velocity, x, self.settings.sampler_steps, self.settings.solver):
            x = state
        return ((x[:, 0] + 1) / 2).clamp(0, 1)
