"""Condition encoder with ImageNet weights: EfficientNet-Lite and a top-down path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.models.blocks import ResidualBlock
from latentfm_core.models.efficientnet import IMAGE_STRIDES, EfficientNetLite
from latentfm_core.models.pyramid import STRIDES, top_down


class PretrainedPyramid(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017) over EfficientNet-Lite.

    `encode` depends on the image alone. `merge` is the top-down path; a prompt is added between
    the two, so that a new prompt costs the top-down path but not the encoder.

    Parameters
    ----------
    variant
        ``"lite0"``, ``"lite1"`` or ``"lite2"``.
    widths
        Channels of the maps at strides 4, 8, 16 and 32.
    finest
        Stride of the finest map (4 or 8).

    Attributes
    ----------
    channels
        Channels of the returned maps, finest first.
    """

    def __init__(
        self, variant: str, widths: Sequence[int], finest: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(variant)
        self._finest = IMAGE_STRIDES.index(finest)
        given = list(self.encoder.channels[self._finest :])
        # Also use the next finer map, four of its pixels as channels of one: outlines need
        # more detail than the finest stride resolves.
        given[0] += 4 * self.encoder.channels[self._finest - 1]
        self.channels = tuple(widths[STRIDES.index(finest) :])
        self.inputs = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(given, self.channels, strict=True)
        )
        pairs = list(zip(self.channels, self.channels[1:], strict=False))
        self.laterals = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.merges = nn.ModuleList(ResidualBlock(fine, fine, dropout=dropout) for fine, _ in pairs)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return features of images ``(B, 3, H, W)`` in [-1, 1], finest first.

        Map i has ``channels[i]`` channels and stride ``finest * 2**i``.
        """
        features = self.encoder(image)
        used = features[self._finest :]
        finer = F.pixel_unshuffle(features[self._finest - 1], 2)
        used[0] = torch.cat([used[0], finer], dim=1)
        return [layer(f) for layer, f in zip(self.inputs, used, strict=True)]

    def merge(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Carry coarse features down to the finer ones; shapes stay the same."""
        return top_down(features, self.laterals, self.merges)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the merged features of images ``(B, 3, H, W)`` in [-1, 1], finest first."""
        return self.merge(self.encode(image))
