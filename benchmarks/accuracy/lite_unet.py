"""A deterministic U-Net with LatentFM's pretrained encoder, with or without prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.data import Parts
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.config import Config, preset
from latentfm_core.models.blocks import SiLU, group_norm
from latentfm_core.models.pretrained import PretrainedPyramid
from latentfm_core.models.prompt_encoder import PROMPT_CHANNELS, PromptEncoder
from latentfm_core.training.imagenet import load_imagenet
from latentfm_core.training.losses import mask_loss

FINEST = 4
"""Stride of the features from which the mask is predicted."""


class LiteUNetNetwork(nn.Module):
    """Pretrained encoder, top-down path to stride 4, one convolution and a pixel shuffle.

    Parameters
    ----------
    config
        Source of the encoder, the widths of the top-down path and its dropout.
    prompts
        Whether there is a prompt encoder, as in `LatentFM`.
    """

    def __init__(self, config: Config, prompts: bool = False) -> None:
        super().__init__()
        model = config.model
        self._variant = model.encoder
        self._frozen_stages = config.training.flow.encoder_frozen
        self.pyramid = PretrainedPyramid(
            model.encoder, model.condition_widths, FINEST, model.dropout
        )
        channels = self.pyramid.channels
        self.prompt_encoder = PromptEncoder(channels, FINEST) if prompts else None
        self.head = nn.Sequential(
            group_norm(channels[0]), SiLU(), nn.Conv2d(channels[0], FINEST**2, 3, padding=1)
        )

    def load_imagenet(self) -> None:
        """Start the encoder from its ImageNet weights.

        Raises
        ------
        ConfigError
            If their package is not installed.
        """
        load_imagenet(self.pyramid.encoder, self._variant)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but those of the encoder's frozen stages."""
        trainable = self.pyramid.encoder.trainable(self._frozen_stages)
        frozen = {id(p) for p in self.pyramid.encoder.parameters()} - {id(p) for p in trainable}
        return [p for p in self.parameters() if id(p) not in frozen]

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return features that depend only on images ``(B, 3, S, S)`` in [0, 1], finest first."""
        return self.pyramid.encode(images * 2 - 1)

    def decode(self, features: Sequence[Tensor], prompts: Tensor | None = None) -> Tensor:
        """Return mask logits ``(B, 1, S, S)``.

        Parameters
        ----------
        features
            From `encode`.
        prompts
            ``(B, 4, S, S)`` of `latentfm_core.prompts.maps`, or None for none.
        """
        if self.prompt_encoder is not None:
            if prompts is None:
                side = features[0].shape[-1] * FINEST
                prompts = features[0].new_zeros(1, PROMPT_CHANNELS, side, side)
            added = self.prompt_encoder(prompts)
            features = [f + p for f, p in zip(features, added, strict=True)]
        maps = self.pyramid.merge(features)
        return F.pixel_shuffle(self.head(maps[0]), FINEST)

    def forward(self, images: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Return mask logits ``(B, 1, S, S)`` of images ``(B, 3, S, S)`` in [0, 1]."""
        return self.decode(self.encode(images), prompts)


class LiteUNet(Baseline):
    """The row ``lite_unet``: BCE + soft Dice of one mask for each image; a single sample."""

    module: LiteUNetNetwork
    deterministic = True

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.module = LiteUNetNetwork(preset("default"))

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters but those of the encoder's frozen stages."""
        return self.module.trained_parameters()

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder."""
        return list(self.module.pyramid.encoder.parameters())

    def train(self, parts: Parts, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Train from ImageNet weights for the time budget; return the log."""
        self.module.load_imagenet()
        return super().train(parts, device, dtype)

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return BCE + soft Dice."""
        return {"loss": mask_loss(self.module(images).float(), masks)}

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the network's probability as the only sample."""
        return torch.sigmoid(self.module(image).float())[:, 0]
