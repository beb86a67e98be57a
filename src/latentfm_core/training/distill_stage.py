"""Training stage of the few-step network."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from latentfm_core.config import DistillConfig
from latentfm_core.errors import ConfigError
from latentfm_core.flow.mean_velocity import mean_velocity, steps_of_short_runs
from latentfm_core.flow.path import linear_path
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.training.augment import augment
from latentfm_core.training.globalbatch import GlobalBatch
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.prompted_batch import prompted_batch
from latentfm_core.training.stage import Batch, BatchSource, Losses, Stage, noise_like, repeat


class DistillStage(Stage):
    """Trains the few-step network to predict where the flow lands after a long step.

    The flow, the features and the VAEs stay as they are. The target is a smooth function of
    state and image, so that plain regression reaches it; the samples keep their spread, which
    one Euler step of the flow itself loses.
    """

    name = "distill"
    settings: DistillConfig

    def begin(self) -> None:
        """Start from the flow's weights, so that a step of any length starts as its slope."""
        self._network.load_state_dict(self.model.velocity.state_dict(), strict=False)
        step = self._network.step_embedding
        if step is not None:
            step.zero_init()

    def parameters(self) -> list[nn.Parameter]:
        """Return the few-step network."""
        return list(self._network.parameters())

    def prepare(self, source: BatchSource, global_batch: GlobalBatch) -> Batch:
        """Return ``images`` and ``masks``, and ``prompts`` of a promptable model."""
        kind = self.config.training.augmentation
        if isinstance(source, ObjectSource):
            return prompted_batch(source, kind, global_batch)
        images, masks = augment(source.images(), source.masks(), kind, global_batch)
        return {"images": images.contiguous(memory_format=torch.channels_last), "masks": masks}

    def losses(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        """Return the error of the mean velocity over long steps."""
        settings, model = self.settings, self.model
        draws = settings.noise_draws
        pairs = global_batch.repeated(draws)
        with torch.no_grad():
            features = model.features(batch["images"], batch.get("prompts"))
            taught = repeat(model.velocity.condition_maps(features), draws)
            z_1 = model.encode_mask(batch["masks"]).repeat_interleave(draws, dim=0)
            t, h = steps_of_short_runs(
                pairs.uniform(0, 1), pairs.uniform(0, 1), self.config.model.distilled_steps
            )
            t, h = t.to(z_1.device), h.to(z_1.device)
            z_t = linear_path(noise_like(z_1, pairs), z_1, t).z_t
            target = mean_velocity(
                lambda s, z: model.velocity(s, z, taught), z_t, t, h, settings.teacher_steps
            )
        # PyTorch 2.13 crashes in the backward pass of GroupNorm (CPU, channels last) where only
        # the weights need a gradient, hence one for the features too.
        features = [level.requires_grad_(True) for level in features]
        maps = repeat(self._network.condition_maps(features), draws)
        return {"loss": F.mse_loss(self._network(t, z_t, maps, h), target)}

    @property
    def _network(self) -> VelocityNetwork:
        if self.model.few_step_velocity is None:
            raise ConfigError("Set model.distilled_steps to train a few-step network.")
        return self.model.few_step_velocity
