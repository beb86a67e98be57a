"""The two variational autoencoders that map images and masks to a small latent space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.models.blocks import ResidualBlock, SiLU, group_norm
from latentfm_core.models.pyramid import Pyramid


@dataclass(frozen=True)
class DiagonalGaussian:
    """Diagonal Gaussian q(z | x) with ``(B, c, h, w)`` mean and log-variance."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw z = mean + std * noise (Kingma & Welling 2014, eq. 10)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Tensor:
        """Return KL(q || N(0, I)) averaged over elements (Kingma & Welling 2014, app. B)."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean.square() + variance - 1 - self.log_variance).mean()


def posterior(moments: Tensor) -> DiagonalGaussian:
    """Split ``(B, 2c, h, w)`` network output into a posterior, in float32."""
    mean, log_variance = moments.float().chunk(2, dim=1)
    return DiagonalGaussian(mean, log_variance.clamp(-20.0, 10.0))


def _stage_widths(width: int, patch: int, downsample: int) -> list[int]:
    return [width * 2**i for i in range(int(math.log2(downsample // patch)) + 1)]


class Encoder(nn.Module):
    """Encode pixels ``(B, channels, H, W)`` as posterior moments ``(B, 2c, H/f, W/f)``."""

    def __init__(self, channels: int, latent: int, width: int, patch: int, downsample: int) -> None:
        super().__init__()
        widths = _stage_widths(width, patch, downsample)
        layers: list[nn.Module] = [nn.PixelUnshuffle(patch)] if patch > 1 else []
        layers.append(nn.Conv2d(channels * patch**2, widths[0], 3, padding=1))
        for i, stage in enumerate(widths):
            if i:
                layers.append(nn.Conv2d(widths[i - 1], stage, 3, stride=2, padding=1))
            layers.append(ResidualBlock(stage, stage))
        layers += [group_norm(widths[-1]), SiLU(), nn.Conv2d(widths[-1], 2 * latent, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the moments of q(z | x)."""
        out: Tensor = self.layers(x)
        return out


class Decoder(nn.Module):
    """Decode latents ``(B, c, H/f, W/f)`` to pixels ``(B, channels, H, W)``, without activation."""

    def __init__(self, channels: int, latent: int, width: int, patch: int, downsample: int) -> None:
        super().__init__()
        widths = _stage_widths(width, patch, downsample)[::-1]
        layers: list[nn.Module] = [nn.Conv2d(latent, widths[0], 3, padding=1)]
        for i, stage in enumerate(widths):
            if i:
                # 1x1 at the coarse grid, then nearest neighbours: the cheap order.
                layers += [nn.Conv2d(widths[i - 1], stage, 1), nn.Upsample(scale_factor=2)]
            layers.append(ResidualBlock(stage, stage))
        layers += [group_norm(widths[-1]), SiLU()]
        layers.append(nn.Conv2d(widths[-1], channels * patch**2, 3, padding=1))
        if patch > 1:
            layers.append(nn.PixelShuffle(patch))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Return the decoded pixels."""
        out: Tensor = self.layers(z)
        return out


class VAE(nn.Module):
    """Convolutional VAE for masks, and for images in the paper's setting."""

    def __init__(self, channels: int, latent: int, width: int, patch: int, downsample: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, latent, width, patch, downsample)
        self.decoder = Decoder(channels, latent, width, patch, downsample)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Return q(z | x) for pixels ``(B, channels, H, W)``."""
        return posterior(self.encoder(x))

    @torch.no_grad()
    def reorder_channels(self, order: Sequence[int]) -> None:
        """Make channel i of the pixels the one that was channel ``order[i]``, in and out."""
        first = next(m for m in self.encoder.modules() if isinstance(m, nn.Conv2d))
        last = [m for m in self.decoder.modules() if isinstance(m, nn.Conv2d)][-1]
        # Each channel has a block of the pixels of a patch.
        rows = torch.arange(first.in_channels).view(len(order), -1)[list(order)].flatten()
        first.weight.copy_(first.weight[:, rows].clone())
        last.weight.copy_(last.weight[rows].clone())
        if last.bias is not None:
            last.bias.copy_(last.bias[rows].clone())

    def decode(self, z: Tensor) -> Tensor:
        """Return pixels (logits for masks) for latents ``(B, c, h, w)``, float32."""
        out: Tensor = self.decoder(z)
        return out.float()


class PyramidVAE(nn.Module):
    """Image VAE whose encoder is the feature pyramid that later conditions the flow."""

    def __init__(
        self, pyramid: Pyramid, latent: int, width: int, patch: int, downsample: int
    ) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.to_moments = nn.Conv2d(pyramid.channels[0], 2 * latent, 1)
        self.decoder = Decoder(3, latent, width, patch, downsample)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Return q(z | x) for images ``(B, 3, H, W)``."""
        return posterior(self.to_moments(F.silu(self.pyramid(x)[0])))

    def decode(self, z: Tensor) -> Tensor:
        """Return images for latents ``(B, c, h, w)``, float32."""
        out: Tensor = self.decoder(z)
        return out.float()
