"""EfficientNet-Lite: the convolutional body, without its classifier.

Tan & Le, "EfficientNet", ICML 2019. The Lite variants have ReLU6 and no squeeze-excitation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.models.depthwise import depthwise_conv2d

IMAGE_STRIDES = (2, 4, 8, 16, 32)
"""Strides of the feature maps that `EfficientNetLite` returns."""


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_OUTPUTS = (0, 1, 2, 4, 6)
"""Stages that end at strides 2, 4, 8, 16 and 32."""

_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Multipliers of width and depth (Tan & Le 2019, eq. 3)."""


class ConvAffine(nn.Module):
    """A convolution followed by batch normalisation with fixed statistics, in one pass.

    The statistics are folded into `scale` and `shift`: nothing drifts in training, and training
    and evaluation compute the same. Padding is TensorFlow's "same", which at stride 2 is right
    for maps of even sides: images must be multiples of 32.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activation: bool = True,
    ) -> None:
        super().__init__()
        per_group = 1 if depthwise else channels_in
        self.weight = nn.Parameter(torch.empty(channels, per_group, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.stride = stride
        self.depthwise = depthwise
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels_in, H, W)`` to ``(B, channels, H / stride, W / stride)``."""
        kernel = self.weight.shape[-1]
        weight = self.weight * self.scale[:, None, None, None]
        padding = (kernel - 1) // 2
        if self.stride == 2:
            before = (kernel - 2) // 2
            x = F.pad(x, (before, kernel - 2 - before) * 2)
            padding = 0
        if self.depthwise:
            y = depthwise_conv2d(x, weight, self.stride, padding)
            y = y + self.shift.to(y.dtype)[:, None, None]
        else:
            y = F.conv2d(x, weight, self.shift, self.stride, padding)
        return F.relu6(y, inplace=True) if self.activation else y


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel, project; with a skip where the shape allows it."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.expand: nn.Module = (
            ConvAffine(channels_in, inner, 1) if expansion > 1 else nn.Identity()
        )
        self.depthwise = ConvAffine(inner, inner, kernel, stride=stride, depthwise=True)
        self.project = ConvAffine(inner, channels, 1, activation=False)
        self.has_skip = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels_in, H, W)`` to ``(B, channels, H / stride, W / stride)``."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return y + x if self.has_skip else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite from the stem to stride 32.

    Parameters
    ----------
    variant
        ``"lite0"``, ``"lite1"`` or ``"lite2"``.

    Attributes
    ----------
    channels
        Channels of the returned maps, finest first.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        width, depth = _SCALES[variant]
        self.stem = ConvAffine(3, 32, 3, stride=2)
        self.stages = nn.ModuleList()
        returned: list[int] = []
        channels_in = 32
        for i, stage in enumerate(_STAGES):
            channels = _rounded(stage.channels, width)
            # First and last stage keep their depth in the Lite variants.
            fixed = i in (0, len(_STAGES) - 1)
            repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
            blocks = []
            for k in range(repeats):
                stride = stage.stride if k == 0 else 1
                blocks.append(
                    InvertedBottleneck(channels_in, channels, stage.kernel, stride, stage.expansion)
                )
                channels_in = channels
            self.stages.append(nn.Sequential(*blocks))
            if i in _OUTPUTS:
                returned.append(channels)
        self.channels = tuple(returned)

    def trainable(self, frozen_stages: int) -> list[nn.Parameter]:
        """Return the parameters behind the first `frozen_stages` stages; 0 returns all.

        The stem is frozen with the first stage.
        """
        modules: list[nn.Module] = list(self.stages[frozen_stages:])
        if not frozen_stages:
            modules.append(self.stem)
        return [p for module in modules for p in module.parameters()]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features of images ``(B, 3, H, W)`` in [-1, 1] at `IMAGE_STRIDES`."""
        features = []
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in _OUTPUTS:
                features.append(x)
        return features


def _rounded(channels: int, factor: float) -> int:
    """Return the scaled number of channels, a multiple of 8 at least 0.9 of the exact one."""
    if factor == 1.0:
        return channels
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
