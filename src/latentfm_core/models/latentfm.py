"""The full model: image VAE, mask VAE and velocity network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentfm_core.config import ModelConfig
from latentfm_core.models.pretrained import PretrainedPyramid
from latentfm_core.models.prompt_encoder import PROMPT_CHANNELS, PromptEncoder
from latentfm_core.models.pyramid import Pyramid
from latentfm_core.models.vae import VAE, PyramidVAE
from latentfm_core.models.velocity import VelocityNetwork


class LatentFM(nn.Module):
    """LatentFM (arXiv 2512.04821): masks by flow matching in the mask VAE's latent space.

    Images are ``(B, 3, S, S)`` float in [0, 1]; masks ``(B, K, S, S)`` float in {0, 1}, one
    channel for binary masks, else one-hot with the background first; latents
    ``(B, c, S/f, S/f)``, standardised per channel with statistics of the training masks,
    which are part of the weights.
    """

    latent_mean: Tensor
    latent_std: Tensor
    image_latent_mean: Tensor
    image_latent_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, f, width = config.latent_channels, config.downsample, config.vae_width
        self.mask_vae = VAE(config.mask_channels, c, width, config.mask_patch, f)
        self.image_vae: VAE | PyramidVAE | None = None
        self.encoder: PretrainedPyramid | None = None
        self.auxiliary: nn.Conv2d | None = None
        condition: Sequence[int] = (c,)
        if config.condition == "frozen":
            self.image_vae = VAE(3, c, width, config.mask_patch, f)
        elif config.condition == "multiscale":
            pyramid = Pyramid(config.condition_widths, config.condition_blocks, f, config.dropout)
            self.image_vae = PyramidVAE(pyramid, c, width, config.mask_patch, f)
            condition = pyramid.channels
        else:
            self.encoder = PretrainedPyramid(
                config.encoder, config.condition_widths, f, config.dropout
            )
            condition = self.encoder.channels
        if config.condition != "frozen":
            self.auxiliary = nn.Conv2d(condition[0], c, 1)
        self.prompt_encoder: PromptEncoder | None = None
        if config.prompts:
            self.prompt_encoder = PromptEncoder(condition, f)
        self.velocity = VelocityNetwork(
            c, config.velocity_widths, config.velocity_blocks, condition
        )
        self.few_step_velocity: VelocityNetwork | None = None
        if config.distilled_steps:
            self.few_step_velocity = VelocityNetwork(
                c, config.velocity_widths, config.velocity_blocks, condition, step_lengths=True
            )
        for prefix in ("latent", "image_latent"):
            self.register_buffer(f"{prefix}_mean", torch.zeros(1, c, 1, 1))
            self.register_buffer(f"{prefix}_std", torch.ones(1, c, 1, 1))

    @property
    def latent_channels(self) -> int:
        """Channels c of the mask latent."""
        return self.config.latent_channels

    def image_features(self, images: Tensor) -> list[Tensor]:
        """Return features that depend on ``(B, 3, S, S)`` images only, finest first."""
        x = images * 2 - 1
        if self.encoder is not None:
            return self.encoder.encode(x)
        if isinstance(self.image_vae, PyramidVAE):
            maps: list[Tensor] = self.image_vae.pyramid(x)
            return maps
        if self.image_vae is None:
            raise RuntimeError("a model needs an image VAE or a pretrained encoder")
        # The paper conditions on the frozen latent of the image VAE.
        with torch.no_grad():
            z = self.image_vae.encode(x).mean
        return [(z - self.image_latent_mean) / self.image_latent_std]

    def with_prompts(self, features: Sequence[Tensor], prompts: Tensor | None) -> list[Tensor]:
        """Add prompts to `image_features`; the result conditions the flow.

        Parameters
        ----------
        features
            Of B images, or of one image that B prompts share.
        prompts
            Prompt maps ``(B, 4, S, S)`` (`latentfm_core.prompts.maps`), or None for none.
        """
        maps = list(features)
        if self.prompt_encoder is not None:
            if prompts is None:
                side = features[0].shape[-1] * self.config.downsample
                prompts = features[0].new_zeros(1, PROMPT_CHANNELS, side, side)
            added = self.prompt_encoder(prompts)
            maps = [f + p for f, p in zip(maps, added, strict=True)]
        return maps if self.encoder is None else self.encoder.merge(maps)

    def features(self, images: Tensor, prompts: Tensor | None = None) -> list[Tensor]:
        """Return features of images with their prompts, finest first."""
        return self.with_prompts(self.image_features(images), prompts)

    def condition(
        self, images: Tensor, prompts: Tensor | None = None, *, few_steps: bool = False
    ) -> list[Tensor]:
        """Return the condition maps of ``(B, 3, S, S)`` images for one of the networks."""
        return self.condition_of(self.image_features(images), prompts, few_steps=few_steps)

    def condition_of(
        self, features: Sequence[Tensor], prompts: Tensor | None, *, few_steps: bool = False
    ) -> list[Tensor]:
        """Return the condition maps of `image_features` with prompts."""
        network = (
            self.few_step_velocity
            if few_steps and self.few_step_velocity is not None
            else self.velocity
        )
        return network.condition_maps(self.with_prompts(features, prompts))

    def auxiliary_latent(self, features: Sequence[Tensor]) -> Tensor | None:
        """Return the latent ``(B, c, h, w)`` predicted directly from the features, if trained."""
        if self.auxiliary is None:
            return None
        out: Tensor = self.auxiliary(features[0])
        return out.float()

    def encode_mask(self, masks: Tensor) -> Tensor:
        """Return standardised latents z_S (posterior means) of masks."""
        z = self.mask_vae.encode(masks * 2 - 1).mean
        return (z - self.latent_mean) / self.latent_std

    def decode_mask(self, z: Tensor) -> Tensor:
        """Return mask logits ``(B, K, S, S)`` float32 of standardised latents."""
        return self.mask_vae.decode(z * self.latent_std + self.latent_mean)

    def flow_parameters(self, frozen_stages: int = 0) -> list[nn.Parameter]:
        """Return the parameters that the flow stage trains.

        The first `frozen_stages` stages of a pretrained encoder are not among them.
        """
        modules: list[nn.Module] = [self.velocity]
        if isinstance(self.image_vae, PyramidVAE):
            modules.append(self.image_vae.pyramid)
        modules += [m for m in (self.auxiliary, self.prompt_encoder) if m is not None]
        parameters = [p for module in modules for p in module.parameters()]
        if self.encoder is None:
            return parameters
        body = {id(p) for p in self.encoder.encoder.parameters()}
        path = [p for p in self.encoder.parameters() if id(p) not in body]
        return parameters + path + self.encoder.encoder.trainable(frozen_stages)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that ImageNet weights are loaded into."""
        return [] if self.encoder is None else list(self.encoder.encoder.parameters())
