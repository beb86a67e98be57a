"""Base class of the training stages."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from latentfm_core.config import Config, DistillConfig, FlowConfig, StageConfig
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.batch_source import ImageSource
from latentfm_core.training.batches import generator_for, seed_for
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.object_source import ObjectSource

STAGES = ("image_vae", "mask_vae", "flow", "distill")

Losses = dict[str, Tensor]

BatchSource = ImageSource | ObjectSource
"""Input of a step: whole canvases, or crops around objects."""

Batch = dict[str, Tensor]
"""Named inputs of a stage's losses: rows of a batch on the device."""


class Stage(ABC):
    """One stage: its parameters, the batch it makes of images and masks, and its losses."""

    name: str

    def __init__(self, model: LatentFM, config: Config) -> None:
        self.model = model
        self.config = config
        self.index = STAGES.index(self.name)
        self.settings: StageConfig = getattr(config.training, self.name)

    def begin(self) -> None:
        """Prepare the network before the first step of the stage."""
        return

    @abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters to optimise."""

    @abstractmethod
    def prepare(self, source: BatchSource, global_batch: GlobalBatch) -> Batch:
        """Read and augment the inputs of `losses`."""

    @abstractmethod
    def losses(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        """Return named scalars, means over the rows of `batch`.

        The optimiser follows ``"loss"``.
        """

    def size_at(self, done: float) -> int:
        """Return the side of the training images when the share `done` of the stage is over."""
        settings, side = self.settings, self.settings.size or self.config.data.size
        if not isinstance(settings, FlowConfig | DistillConfig):
            return side
        # The same division on both sides: no rounding may move the boundary by a step.
        small = done < settings.small_epochs / max(1, settings.epochs)
        return min(settings.small_size, self.config.data.size) if small else side

    def draws(self, step: int) -> int:
        """Return the seed with which a step chooses among the raters of its images."""
        return seed_for(self.config.training.seed, self.index, step, 2)

    def generator(self, step: int) -> torch.Generator:
        """Return the generator of a step."""
        return generator_for(self.config.training.seed, self.index, step, 0)


def noise_like(like: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Return standard normal noise of the shape of `like`, which has this process's rows."""
    return global_batch.normal(*like.shape[1:]).to(like.device)


def repeat(maps: list[Tensor], draws: int) -> list[Tensor]:
    """Return maps with `draws` rows in place of each, one after the other."""
    return [level.repeat_interleave(draws, dim=0) for level in maps]
