"""Image encoder of the default preset: features at several scales, computed once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.models.blocks import ResidualBlock, SiLU, group_norm

STRIDES = (4, 8, 16, 32)


class Pyramid(nn.Module):
    """Residual encoder to stride 32 and a top-down path back to `finest`.

    Parameters
    ----------
    widths, blocks
        Channels and residual blocks at strides 4, 8, 16 and 32.
    finest
        Stride of the finest feature map that is returned (4 or 8).
    dropout
        Channel dropout in the two coarsest stages and the top-down path.

    Attributes
    ----------
    channels
        Channels of the returned maps, finest first.
    """

    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], finest: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        first = widths[0] // 2
        # Two strided convolutions: fine texture is kept, and hardly any work is done at
        # full resolution, where a convolution costs most.
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1),
            SiLU(),
            nn.Conv2d(first, widths[0], 3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers: list[nn.Module] = []
            if i:
                layers += [group_norm(widths[i - 1]), SiLU()]
                layers.append(nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1))
            rate = dropout if i >= 2 else 0.0
            layers += [ResidualBlock(width, width, dropout=rate) for _ in range(count)]
            self.stages.append(nn.Sequential(*layers))
        self._first = STRIDES.index(finest)
        self.laterals = nn.ModuleList()
        self.merges = nn.ModuleList()
        for i in range(self._first, len(widths) - 1):
            self.laterals.append(nn.Conv2d(widths[i + 1], widths[i], 1))
            self.merges.append(ResidualBlock(widths[i], widths[i], dropout=dropout))
        self.channels = tuple(widths[self._first :])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return feature maps of ``(B, 3, H, W)`` images, finest first.

        Map i has ``channels[i]`` channels and stride ``finest * 2**i``.
        """
        x = self.stem(image)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return top_down(features[self._first :], self.laterals, self.merges)


def top_down(
    features: Sequence[Tensor], laterals: nn.ModuleList, merges: nn.ModuleList
) -> list[Tensor]:
    """Carry coarse features down to the finer ones; shapes stay the same."""
    maps = [features[-1]]
    for i in reversed(range(len(laterals))):
        raised = F.interpolate(laterals[i](maps[0]), scale_factor=2.0, mode="nearest")
        maps.insert(0, merges[i](features[i] + raised))
    return maps
