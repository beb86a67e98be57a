"""Training stages of the VAEs, the flow and the few-step network, and their objectives."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.config import Config, DistillConfig, FlowConfig
from latentfm_core.errors import ConfigError
from latentfm_core.flow.objective import flow_matching_loss
from latentfm_core.flow.path import linear_path, mean_velocity, sample_times, steps_of_short_runs
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.vae import VAE, PyramidVAE
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.training.augment import augment, augment_images, augment_masks
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.latent_cache import LatentCache
from latentfm_core.training.losses import (
    foreground_share,
    mask_loss,
    reconstruction_loss,
    soft_dice_score,
)
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.prompted_batch import prompted_batch, with_corrections
from latentfm_core.training.stage import (
    STAGES,
    Batch,
    BatchSource,
    Losses,
    Stage,
    noise_like,
    repeat,
)

__all__ = ["STAGES", "Batch", "Losses", "Stage", "freeze_except", "make_stage"]


class ImageVAEStage(Stage):
    """Mean squared reconstruction error + beta KL."""

    name = "image_vae"

    @property
    def _vae(self) -> VAE | PyramidVAE:
        if self.model.image_vae is None:
            raise ConfigError("A model with a pretrained encoder has no image VAE to train.")
        return self.model.image_vae

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the image VAE."""
        return list(self._vae.parameters())

    def prepare(self, source: BatchSource, global_batch: GlobalBatch) -> Batch:
        """Return ``images``."""
        kind = self.config.training.augmentation
        return {"images": augment_images(source.images(), kind, global_batch)}

    def losses(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        """Return loss, reconstruction and KL of images."""
        target = batch["images"] * 2 - 1
        q = self._vae.encode(target)
        z = q.mean + torch.exp(0.5 * q.log_variance) * noise_like(q.mean, global_batch)
        error = (self._vae.decode(z) - target).square().mean()
        kl = q.kl()
        return {"loss": error + self.config.training.kl_weight * kl, "mse": error, "kl": kl}


class MaskVAEStage(Stage):
    """Weighted BCE + Dice + beta KL."""

    name = "mask_vae"

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the mask VAE."""
        return list(self.model.mask_vae.parameters())

    def prepare(self, source: BatchSource, global_batch: GlobalBatch) -> Batch:
        """Return ``masks``, and the ``foreground`` share of the whole batch."""
        masks = augment_masks(source.masks(), self.config.training.augmentation, global_batch)
        return {"masks": masks, "foreground": global_batch.mean(foreground_share(masks))}

    def losses(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        """Return loss, KL and reconstruction Dice of masks."""
        masks = batch["masks"]
        q = self.model.mask_vae.encode(masks * 2 - 1)
        z = q.mean + torch.exp(0.5 * q.log_variance) * noise_like(q.mean, global_batch)
        logits = self.model.mask_vae.decode(z)
        kl = q.kl()
        error = reconstruction_loss(logits, masks, batch["foreground"])
        loss = error + self.config.training.kl_weight * kl
        return {"loss": loss, "kl": kl, "dice": soft_dice_score(logits.detach(), masks)}


class FlowStage(Stage):
    """Flow matching of mask latents given the image (arXiv 2512.04821), plus its additions.

    The image features are computed once and shared by `noise_draws` pairs (t, z_0), because
    the encoder costs several times what the velocity network does.
    """

    name = "flow"
    settings: FlowConfig

    def __init__(self, model: LatentFM, config: Config) -> None:
        super().__init__(model, config)
        self._latents = LatentCache(model, config.training.augmentation)

    def parameters(self) -> list[nn.Parameter]:
        """Return velocity network and trained condition encoder; the VAEs stay frozen."""
        parameters = self.model.flow_parameters(self.settings.encoder_frozen)
        if self.model.auxiliary is None or self._has_auxiliary():
            return parameters
        # Without its loss term it gets no gradient, and several processes would wait for one.
        unused = {id(parameter) for parameter in self.model.auxiliary.parameters()}
        return [parameter for parameter in parameters if id(parameter) not in unused]

    def _has_auxiliary(self) -> bool:
        return self.model.auxiliary is not None and self.settings.auxiliary_weight > 0

    def prepare(self, source: BatchSource, global_batch: GlobalBatch) -> Batch:
        """Return ``images`` and ``masks``, or cached latents that replace them.

        That is ``target``, the mask latents, and ``condition``, the frozen image latents. A
        promptable model gets ``prompts`` too.
        """
        kind = self.config.training.augmentation
        if isinstance(source, ObjectSource):
            return prompted_batch(source, kind, global_batch)
        if not self._latents.allows(source):
            images, masks = augment(source.images(), source.masks(), kind, global_batch)
            images = images.contiguous(memory_format=torch.channels_last)
            return {"images": images, "masks": masks}
        return self._latents.batch(source, global_batch, with_masks=self._decodes())

    def _decodes(self) -> bool:
        return self.settings.endpoint_weight > 0 or self._has_auxiliary()

    def losses(self, batch: Batch, global_batch: GlobalBatch) -> Losses:
        """Return the velocity loss and the segmentation losses on decoded latents."""
        if "target" in batch:
            target = batch["target"]
        else:
            with torch.no_grad():
                target = self.model.encode_mask(batch["masks"])
        features = self._features(batch, global_batch)
        draws = self.settings.noise_draws
        pairs = global_batch.repeated(draws)
        z_1 = target.repeat_interleave(draws, dim=0)
        t = self._times(pairs).to(z_1.device)
        z_0 = noise_like(z_1, pairs)
        maps = repeat(self.model.velocity.condition_maps(features), draws)
        flow = flow_matching_loss(lambda t, z: self.model.velocity(t, z, maps), z_0, z_1, t)
        losses = {"velocity": flow.loss}
        total = losses["velocity"]
        if self.settings.endpoint_weight:
            # One draw per image is enough for a stable estimate, and decoding is expensive.
            logits = self.model.decode_mask(flow.endpoint(every=draws))
            losses["endpoint"] = mask_loss(logits, batch["masks"])
            total = total + self.settings.endpoint_weight * losses["endpoint"]
        direct = self.model.auxiliary_latent(features)
        if direct is not None and self.settings.auxiliary_weight:
            logits = self.model.decode_mask(direct)
            losses["auxiliary"] = mask_loss(logits, batch["masks"])
            losses["dice"] = soft_dice_score(logits.detach(), batch["masks"])
            total = total + self.settings.auxiliary_weight * losses["auxiliary"]
        return {"loss": total, **losses}

    def _features(self, batch: Batch, global_batch: GlobalBatch) -> list[Tensor]:
        if "condition" in batch:
            return [batch["condition"]]
        if "prompts" not in batch:
            return self.model.features(batch["images"])
        image_features = self.model.image_features(batch["images"])
        prompts = with_corrections(self.model, image_features, batch, global_batch)
        return self.model.with_prompts(image_features, prompts)

    def _times(self, pairs: GlobalBatch) -> Tensor:
        kind, count = self.settings.time_sampling, pairs.total
        t = sample_times(count, kind, pairs.generator, torch.device("cpu"))[pairs.rows]
        if kind == "uniform":
            # One draw in each of `count` equal intervals: same distribution, less variance.
            t = (t + pairs.ranks()) / count
        return t


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


def make_stage(name: str, model: LatentFM, config: Config) -> Stage:
    """Return the stage called `name`."""
    kinds: dict[str, type[Stage]] = {
        kind.name: kind for kind in (ImageVAEStage, MaskVAEStage, FlowStage, DistillStage)
    }
    return kinds[name](model, config)


def freeze_except(model: LatentFM, parameters: Iterable[nn.Parameter]) -> None:
    """Enable gradients for `parameters` only."""
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
