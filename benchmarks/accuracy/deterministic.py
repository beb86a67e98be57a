"""Segmentation networks without and with dropout as the source of samples.

References
----------
F. Isensee et al.: nnU-Net. Nature Methods 18 (2021).
Y. Gal, Z. Ghahramani: Dropout as a Bayesian approximation. ICML 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from torch import Tensor, nn

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.training.losses import mask_loss

DROPOUT = 0.2
DYNUNET_FILTERS = (32, 64, 128, 256, 512, 512)
DEEP_SUPERVISION_HEADS = 3


class SegmentationNetwork(Baseline):
    """BCE + soft Dice of one mask per image; a single sample."""

    deterministic = True

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the loss; deeper outputs ``(B, D, 1, S, S)`` count half of the one before."""
        logits = self.module(images * 2 - 1)
        outputs = logits.unbind(dim=1) if logits.ndim == 5 else (logits,)
        weights = [0.5**level for level in range(len(outputs))]
        total = sum(
            weight * mask_loss(out.float(), masks)
            for weight, out in zip(weights, outputs, strict=True)
        )
        return {"loss": torch.as_tensor(total / sum(weights))}

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the network's probability as the only sample."""
        return torch.sigmoid(self.module(image * 2 - 1).float())[:, 0]


class DropoutNetwork(SegmentationNetwork):
    """The same network with dropout that stays active at test time: each pass is a sample."""

    deterministic = False

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return one stochastic pass for each seed."""
        dropouts = [m for m in self.module.modules() if isinstance(m, nn.Dropout)]
        for module in dropouts:
            module.train()
        drawn = []
        try:
            with torch.random.fork_rng(devices=_cuda(image)):
                for seed in seeds:
                    torch.manual_seed(seed)
                    drawn.append(super().draw(image, (seed,)))
        finally:
            for module in dropouts:
                module.eval()
        return torch.cat(drawn)


def _cuda(image: Tensor) -> list[int]:
    return [image.device.index or 0] if image.device.type == "cuda" else []


def basic_unet(dropout: float) -> nn.Module:
    """Return MONAI's BasicUNet with its default features and instance norm."""
    network: nn.Module = BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=1,
        norm=("instance", {"affine": True}),
        dropout=dropout,
    )
    return network


def dynunet(size: int, dropout: float) -> nn.Module:
    """Return MONAI's DynUNet in nnU-Net's 2D configuration.

    Levels are added while the coarsest map is at least 4 pixels wide, as nnU-Net does it.
    """
    levels = min(len(DYNUNET_FILTERS), int(math.log2(size)) - 1)
    strides = [1] + [2] * (levels - 1)
    network: nn.Module = DynUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=1,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=DYNUNET_FILTERS[:levels],
        dropout=dropout or None,
        deep_supervision=True,
        deep_supr_num=min(DEEP_SUPERVISION_HEADS, levels - 2),
    )
    return network


def make_deterministic(settings: RunSettings) -> Baseline:
    """Return the row ``basic_unet`` or ``dynunet``, or one of those with ``_dropout``."""
    family = settings.row.removesuffix("_dropout")
    with_dropout = family != settings.row
    rate = DROPOUT if with_dropout else 0.0
    baseline = (DropoutNetwork if with_dropout else SegmentationNetwork)(settings)
    baseline.module = basic_unet(rate) if family == "basic_unet" else dynunet(settings.size, rate)
    return baseline
