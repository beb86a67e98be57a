"""The conditional velocity network v_theta(t, z_t, condition)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.models.blocks import (
    ResidualBlock,
    SelfAttention,
    SiLU,
    TimeEmbedding,
    group_norm,
    zero_init,
)


class ResidualStage(nn.Module):
    """Residual blocks at one resolution, all modulated by the time embedding."""

    def __init__(self, width: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, embedding=embedding) for _ in range(blocks)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map ``(B, width, h, w)`` to the same shape."""
        for block in self.blocks:
            x = block(x, embedding)
        return x


class VelocityNetwork(nn.Module):
    """A small U-Net over the latent grid with attention at its coarsest level.

    The image enters only through condition maps, one per level, that are added to the
    features. They depend neither on t nor on z_t: `condition_maps` runs once per image and
    its result serves every sample and every ODE step.

    Parameters
    ----------
    widths
        Channels per level; level i has the latent's resolution divided by ``2**i``.
    blocks
        Residual blocks per level on the way down (one on the way up).
    condition_channels
        Channels of the image features for the first ``len(condition_channels)``
        levels.
    step_lengths
        Whether the network takes the length of the step its velocity is for.
    """

    def __init__(
        self,
        latent: int,
        widths: Sequence[int],
        blocks: int,
        condition_channels: Sequence[int],
        *,
        step_lengths: bool = False,
    ) -> None:
        super().__init__()
        embedding = 4 * widths[0]
        self.time_embedding = TimeEmbedding(embedding)
        self.step_embedding = TimeEmbedding(embedding) if step_lengths else None
        self.conv_in = nn.Conv2d(latent, widths[0], 3, padding=1)
        used = min(len(widths), len(condition_channels))
        self.condition_proj = nn.ModuleList(
            nn.Sequential(group_norm(c), SiLU(), nn.Conv2d(c, 2 * widths[i], 1))
            if c >= 8
            else nn.Conv2d(c, 2 * widths[i], 3, padding=1)
            for i, c in enumerate(condition_channels[:used])
        )
        self.down = nn.ModuleList()
        self.downsample = nn.ModuleList()
        for i, width in enumerate(widths):
            self.downsample.append(
                nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1) if i else nn.Identity()
            )
            self.down.append(ResidualStage(width, blocks, embedding))
        self.attention = SelfAttention(widths[-1])
        self.upsample = nn.ModuleList(
            nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(len(widths) - 1)
        )
        self.up = nn.ModuleList(ResidualStage(width, 1, embedding) for width in widths[:-1])
        self.conv_out = nn.Sequential(
            group_norm(widths[0]), SiLU(), zero_init(nn.Conv2d(widths[0], latent, 3, padding=1))
        )

    def condition_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Project image features ``(B, C_i, h/2^i, w/2^i)`` to the maps that `forward` adds.

        Each conditioned level has ``(B, 2 * width, h/2^i, w/2^i)``: one half for the way down, one
        for the way up.
        """
        return [layer(f) for layer, f in zip(self.condition_proj, features, strict=False)]

    def forward(
        self, t: Tensor, z: Tensor, condition: Sequence[Tensor], h: Tensor | None = None
    ) -> Tensor:
        """Return the velocity ``(B, c, h, w)`` float32.

        Parameters
        ----------
        t
            Times ``(B,)`` in [0, 1].
        z
            Latents ``(B, c, h, w)``.
        condition
            Maps of `condition_maps` with batch B, or 1 to share one image.
        h
            Lengths ``(B,)`` in (0, 1] of the step that follows: the mean velocity over
            [t, t + h] is returned. Only for a network with `step_lengths`.
        """
        embedding = self.time_embedding(t)
        if self.step_embedding is not None and h is not None:
            embedding = embedding + self.step_embedding(h)
        embedding = F.silu(embedding)
        halves = [maps.chunk(2, dim=1) for maps in condition]
        x = self.conv_in(z)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            x = self.downsample[i](x)
            if i < len(halves):
                x = x + halves[i][0]
            x = level(x, embedding)
            skips.append(x)
        x = self.attention(x)
        for i in reversed(range(len(self.up))):
            x = skips[i] + F.interpolate(self.upsample[i](x), scale_factor=2.0, mode="nearest")
            if i < len(halves):
                x = x + halves[i][1]
            x = self.up[i](x, embedding)
        out: Tensor = self.conv_out(x)
        return out.to(torch.float32)
