"""The training stages of VAEs and flow: what each one optimises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from latentfm_core.config import Config, DistillConfig, FlowConfig, StageConfig
from latentfm_core.errors import ConfigError
from latentfm_core.flow.mean_velocity import draw_steps, mean_velocity
from latentfm_core.flow.path import endpoint, linear_path, sample_times
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.training.augment import augment, augment_masks
from latentfm_core.training.batches import Batch, generator_for, seed_for
from latentfm_core.training.losses import (
    mask_loss,
    reconstruction_loss,
    soft_dice_score,
    velocity_loss,
)

STAGES = ("image_vae", "mask_vae", "flow", "distill")

Losses = dict[str, Tensor]


class Stage(ABC):
    """One stage: its parameters, and the loss of a batch.

    `losses` returns named scalars; ``"loss"`` is what the optimiser follows.
    """

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
        """Return what the optimiser may change."""

    @abstractmethod
    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return the losses of an augmented batch."""

    def size_at(self, done: float) -> int:
        """Return the side of the training images when the share `done` of the stage is over."""
        settings, side = self.settings, self.settings.size or self.config.data.size
        if not isinstance(settings, FlowConfig | DistillConfig):
            return side
        # The same division on both sides: no rounding may move the boundary by a step.
        small = done < settings.small_epochs / max(1, settings.epochs)
        return min(settings.small_size, self.config.data.size) if small else side

    def draws(self, step: int) -> int:
        """Return the seed by which a step chooses among the raters of its images."""
        return seed_for(self.config.training.seed, self.index, step, 2)

    def generator(self, step: int) -> torch.Generator:
        """Return the generator of a step."""
        return generator_for(self.config.training.seed, self.index, step, 0)


class ImageVAEStage(Stage):
    """Mean squared reconstruction error + beta KL."""

    name = "image_vae"

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the image VAE."""
        return list(self.model.image_vae.parameters())

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return loss, reconstruction and KL of images."""
        kind = self.config.training.augmentation
        images, _ = augment(batch.images, batch.masks, kind, generator)
        target = images * 2 - 1
        q = self.model.image_vae.encode(target)
        z = q.mean + torch.exp(0.5 * q.log_variance) * _noise(q.mean, generator)
        error = (self.model.image_vae.decode(z) - target).square().mean()
        kl = q.kl()
        return {"loss": error + self.config.training.kl_weight * kl, "mse": error, "kl": kl}


class MaskVAEStage(Stage):
    """Weighted BCE + Dice + beta KL."""

    name = "mask_vae"

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the mask VAE."""
        return list(self.model.mask_vae.parameters())

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return loss, KL and reconstruction Dice of masks."""
        masks = augment_masks(batch.masks, self.config.training.augmentation, generator)
        q = self.model.mask_vae.encode(masks * 2 - 1)
        z = q.mean + torch.exp(0.5 * q.log_variance) * _noise(q.mean, generator)
        logits = self.model.mask_vae.decode(z)
        kl = q.kl()
        loss = reconstruction_loss(logits, masks) + self.config.training.kl_weight * kl
        return {"loss": loss, "kl": kl, "dice": soft_dice_score(logits.detach(), masks)}


class FlowStage(Stage):
    """Flow matching of mask latents given the image (arXiv 2512.04821), plus its additions.

    The image features are computed once and shared by `noise_draws` pairs (t, z_0), because
    the encoder costs several times what the velocity network does.
    """

    name = "flow"
    settings: FlowConfig

    def parameters(self) -> list[nn.Parameter]:
        """Return velocity network and trained condition encoder; the VAEs stay frozen."""
        return self.model.flow_parameters()

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return the velocity loss and the segmentation losses on decoded latents."""
        kind = self.config.training.augmentation
        images, masks = augment(batch.images, batch.masks, kind, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            target = self.model.encode_mask(masks)
        features = self.model.features(images)
        maps = self.model.velocity.condition_maps(features)
        draws = self.settings.noise_draws
        z_1 = target.repeat_interleave(draws, dim=0)
        condition = _repeat(maps, draws)
        t = self._times(len(z_1), generator).to(z_1.device)
        point = linear_path(_noise(z_1, generator), z_1, t)
        velocity = self.model.velocity(t, point.z_t, condition)
        losses = {"velocity": velocity_loss(velocity, point.velocity)}
        total = losses["velocity"]
        if self.settings.endpoint_weight:
            # One draw per image is enough for a stable estimate, and decoding is dear.
            one_step = endpoint(point.z_t, velocity, t)[::draws]
            losses["endpoint"] = mask_loss(self.model.decode_mask(one_step), masks)
            total = total + self.settings.endpoint_weight * losses["endpoint"]
        direct = self.model.auxiliary_latent(features)
        if direct is not None and self.settings.auxiliary_weight:
            logits = self.model.decode_mask(direct)
            losses["auxiliary"] = mask_loss(logits, masks)
            losses["dice"] = soft_dice_score(logits.detach(), masks)
            total = total + self.settings.auxiliary_weight * losses["auxiliary"]
        return {"loss": total, **losses}

    def _times(self, count: int, generator: torch.Generator) -> Tensor:
        kind = self.settings.time_sampling
        t = sample_times(count, kind, generator, torch.device("cpu"))
        if kind == "uniform":
            # One draw in each of `count` equal intervals: same distribution, less variance.
            t = (t + torch.randperm(count, generator=generator)) / count
        return t


class DistillStage(Stage):
    """The network for few steps learns where the trained flow lands after a long step.

    The flow, the features and the VAEs stay as they are. The target is a smooth function of
    state and image, so that plain regression reaches it; the samples keep their spread, which
    one Euler step of the flow itself loses.
    """

    name = "distill"
    settings: DistillConfig

    def begin(self) -> None:
        """Start from the flow's own weights: a step of any length then begins as its slope."""
        self._fast.load_state_dict(self.model.velocity.state_dict(), strict=False)
        step = self._fast.step
        if step is not None:
            step.start_as_nothing()

    def parameters(self) -> list[nn.Parameter]:
        """Return the network for few steps."""
        return list(self._fast.parameters())

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Return the error of the mean velocity over long steps."""
        settings, model = self.settings, self.model
        kind = self.config.training.augmentation
        images, masks = augment(batch.images, batch.masks, kind, generator)
        draws = settings.noise_draws
        with torch.no_grad():
            features = model.features(images.contiguous(memory_format=torch.channels_last))
            taught = _repeat(model.velocity.condition_maps(features), draws)
            z_1 = model.encode_mask(masks).repeat_interleave(draws, dim=0)
            t, h = draw_steps(len(z_1), self.config.model.distilled_steps, generator)
            t, h = t.to(z_1.device), h.to(z_1.device)
            z_t = linear_path(_noise(z_1, generator), z_1, t).z_t
            target = mean_velocity(
                lambda s, z: model.velocity(s, z, taught), z_t, t, h, settings.teacher_steps
            )
        # PyTorch 2.13 crashes in the backward pass of GroupNorm (CPU, channels last) where only
        # the weights want a gradient, hence one for the features too.
        features = [level.requires_grad_(True) for level in features]
        maps = _repeat(self._fast.condition_maps(features), draws)
        loss = velocity_loss(self._fast(t, z_t, maps, h), target)
        return {"loss": loss}

    @property
    def _fast(self) -> VelocityNetwork:
        if self.model.fast is None:
            raise ConfigError("Set model.distilled_steps to train a network for few steps.")
        return self.model.fast


def _repeat(maps: list[Tensor], draws: int) -> list[Tensor]:
    return [level.repeat_interleave(draws, dim=0) for level in maps]


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def make_stage(name: str, model: LatentFM, config: Config) -> Stage:
    """Return the stage called `name`."""
    kinds: dict[str, type[Stage]] = {
        kind.name: kind for kind in (ImageVAEStage, MaskVAEStage, FlowStage, DistillStage)
    }
    return kinds[name](model, config)


def freeze_except(model: LatentFM, parameters: Iterable[nn.Parameter]) -> None:
    """Let gradients reach `parameters` alone."""
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)


def learning_rate(settings: StageConfig, step: int, done: float, total: int) -> float:
    """Return the rate of `step`: linear warm-up, then constant or a cosine to 1 % of it.

    Parameters
    ----------
    done
        Share of the stage that is over, in [0, 1].
    total
        Steps of the stage if no time budget ends it before.
    """
    warm = min(settings.warmup_steps, total // 5)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if not settings.cosine:
        return settings.learning_rate
    start = warm / total
    phase = min(1.0, max(0.0, (done - start) / (1 - start)))
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * phase)))
