"""A probabilistic U-Net: a latent code of few dimensions chooses among outlines.

References
----------
S. Kohl et al.: A probabilistic U-Net for segmentation of ambiguous images. NeurIPS 2018,
arXiv 1806.05034.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.flow.noise import seeded_noise

LATENT = 6
BETA = 10.0
WIDTHS = (32, 64, 128, 192)
FEATURES = 32
LOG_SIGMA_LIMIT = 7.0


class GaussianEncoder(nn.Module):
    """Maps an image (and a mask) to an axis-aligned Gaussian over the code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, width in enumerate(WIDTHS):
            if level:
                layers.append(nn.AvgPool2d(2))
            for inputs in (channels, width):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            channels = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 2 * LATENT)

    def forward(self, x: Tensor) -> Normal:
        """Return the distributions of the elements of ``(B, LATENT)`` codes, in float32."""
        pooled = self.body(x).float().mean(dim=(2, 3))
        mean, log_sigma = self.head(pooled).float().chunk(2, dim=1)
        sigma = log_sigma.clamp(-LOG_SIGMA_LIMIT, LOG_SIGMA_LIMIT).exp()
        # The limits already keep sigma valid; the check would wait for the GPU.
        return Normal(mean, sigma, validate_args=False)


class ProbabilisticUNet(nn.Module):
    """Backbone, prior and posterior net, and 1 x 1 convolutions that join code and features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = BasicUNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=FEATURES,
            norm=("instance", {"affine": True}),
        )
        self.prior = GaussianEncoder(3)
        self.posterior = GaussianEncoder(4)
        self.combine = nn.Sequential(
            nn.Conv2d(FEATURES + LATENT, FEATURES, 1),
            nn.ReLU(),
            nn.Conv2d(FEATURES, FEATURES, 1),
            nn.ReLU(),
            nn.Conv2d(FEATURES, 1, 1),
        )

    def decode(self, features: Tensor, code: Tensor) -> Tensor:
        """Return logits ``(B, 1, S, S)`` of features ``(B, F, S, S)`` and codes ``(B, L)``."""
        tiled = code.to(features.dtype)[:, :, None, None].expand(-1, -1, *features.shape[-2:])
        logits: Tensor = self.combine(torch.cat([features, tiled], dim=1))
        return logits.float()


class ProbUNet(Baseline):
    """The ELBO with the published weight of the divergence; samples come from the prior."""

    module: ProbabilisticUNet

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.module = ProbabilisticUNet()

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return (sum of the pixels' BCE + beta KL) / pixels, with its two parts.

        The paper sums over pixels; dividing the whole by their number leaves the optimum
        where it is and gives gradients of the size that the common clipping expects.
        """
        x = images * 2 - 1
        prior = self.module.prior(x)
        posterior = self.module.posterior(torch.cat([x, masks * 2 - 1], dim=1))
        noise = torch.randn(posterior.mean.shape, generator=generator).to(x.device)
        logits = self.module.decode(
            self.module.backbone(x), posterior.mean + posterior.stddev * noise
        )
        error = F.binary_cross_entropy_with_logits(logits, masks)
        kl = kl_divergence(posterior, prior).sum(dim=1).mean()
        pixels = masks[0].numel()
        return {"loss": error + BETA * kl / pixels, "bce": error, "kl": kl}

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return one mask for each code drawn from the prior; the U-Net runs once."""
        x = image * 2 - 1
        prior = self.module.prior(x)
        noise = seeded_noise(seeds, (LATENT,)).to(x.device)
        features = self.module.backbone(x)
        # One at a time: codes and features of all samples at full resolution would not fit
        # small memories at large N.
        drawn = [
            self.module.decode(features, prior.mean + prior.stddev * row[None]) for row in noise
        ]
        return torch.sigmoid(torch.cat(drawn))[:, 0]
