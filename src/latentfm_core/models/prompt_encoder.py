"""Encode prompt maps as additions to the image features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from latentfm_core.models.blocks import SiLU, zero_init

PROMPT_CHANNELS = 4
"""Box, positive marks, negative marks, rough mask: see `latentfm_core.prompts.maps`."""


class PromptEncoder(nn.Module):
    """Convolutions from prompt maps to one map for each level of image features.

    Its last layers start at zero: an untrained prompt encoder changes nothing.

    Parameters
    ----------
    channels
        Channels of the image features, finest first.
    """

    def __init__(self, channels: Sequence[int], finest: int, width: int = 96) -> None:
        super().__init__()
        self.conv_in = nn.Sequential(
            nn.PixelUnshuffle(finest),
            nn.Conv2d(PROMPT_CHANNELS * finest**2, width, 1),
            SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            SiLU(),
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), SiLU())
            for _ in channels[1:]
        )
        self.conv_out = nn.ModuleList(zero_init(nn.Conv2d(width, c, 1)) for c in channels)

    def forward(self, prompts: Tensor) -> list[Tensor]:
        """Map ``(B, PROMPT_CHANNELS, S, S)`` to maps of the shapes of the image features."""
        levels = [self.conv_in(prompts)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        return [layer(x) for layer, x in zip(self.conv_out, levels, strict=True)]
