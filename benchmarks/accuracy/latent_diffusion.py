"""Diffusion in LatentFM's latent space, to isolate the effect of flow matching.

Everything but the path, its objective and its sampler is LatentFM: networks, VAE stages,
condition encoder, noise draws per image and the two segmentation losses.

References
----------
R. Rombach et al.: High-resolution image synthesis with latent diffusion models. CVPR 2022.
T. Salimans, J. Ho: Progressive distillation for fast sampling of diffusion models. ICLR 2022
(v-prediction).
J. Song, C. Meng, S. Ermon: Denoising diffusion implicit models. ICLR 2021.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.schedulers.ddpm import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.accuracy.baseline import Baseline
from benchmarks.accuracy.data import Parts
from benchmarks.accuracy.latentfm import make_config
from benchmarks.accuracy.loop import canvas_losses, optimise
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.config import with_overrides
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.errors import ConfigError
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.losses import mask_loss
from latentfm_core.training.trainer import RunOptions, Trainer

TRAIN_STEPS = 1000
SCHEDULE = "cosine"
PREDICTION = "v_prediction"


class LatentDiffusion(Baseline):
    """LatentFM with a denoising diffusion model in place of the flow."""

    module: LatentFM

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.config = make_config(settings, "default")
        self.module = LatentFM(self.config.model)
        self.noising = DDPMScheduler(
            TRAIN_STEPS, schedule=SCHEDULE, prediction_type=PREDICTION, clip_sample=False
        )

    @property
    def nfe(self) -> int:
        """Evaluations of the denoising network per sample."""
        return self.settings.sampler_steps

    def parameters(self) -> list[nn.Parameter]:
        """Return those of denoising network and condition encoder."""
        return self.module.flow_parameters(self.config.training.flow.encoder_frozen)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return those of the encoder with ImageNet weights."""
        return self.module.pretrained_parameters()

    def train(self, parts: Parts, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Run LatentFM's two VAE stages, then train the denoising network."""
        config = with_overrides(self.config, ["training.flow.epochs=0"])
        self.settings.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.settings.out) as folder:
            trainer = Trainer(config, RunOptions(Path(folder) / "vae"))
            trainer.run()
        self.module = trainer.state.model
        before = trainer.state.position.seconds
        # Time left or overrun by the VAE stages counts towards this stage.
        rest = max(self.settings.budget - before, 1e-3)
        train = trainer.state.data.train
        if not isinstance(train, CanvasSet):
            raise ConfigError("The row latent_diffusion has no prompts. Set model.prompts=false.")
        losses = canvas_losses(self, train, self.settings, device, dtype)
        log = optimise(self, train, losses, self.settings, rest, device)
        return log | {"seconds": before + log["seconds"], "vae_seconds": before}

    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return LatentFM's three losses with v-prediction in place of the velocity."""
        flow, model = self.config.training.flow, self.module
        with torch.no_grad():
            clean = model.encode_mask(masks)
        features = model.features(images)
        maps = model.velocity.condition_maps(features)
        draws = flow.noise_draws
        z = clean.repeat_interleave(draws, dim=0).float()
        condition = [level.repeat_interleave(draws, dim=0) for level in maps]
        noise = torch.randn(z.shape, generator=generator).to(z.device)
        steps = _stratified(len(z), generator).to(z.device)
        noisy = self.noising.add_noise(z, noise, steps)
        predicted = model.velocity(steps / TRAIN_STEPS, noisy, condition)
        target = self.noising.get_velocity(z, noise, steps)
        losses = {"velocity": F.mse_loss(predicted, target)}
        total = losses["velocity"]
        if flow.endpoint_weight:
            share = self.noising.alphas_cumprod.to(z.device)[steps].reshape(-1, 1, 1, 1)
            one_step = (share.sqrt() * noisy - (1 - share).sqrt() * predicted)[::draws]
            losses["endpoint"] = mask_loss(model.decode_mask(one_step), masks)
            total = total + flow.endpoint_weight * losses["endpoint"]
        direct = model.auxiliary_latent(features)
        if direct is not None and flow.auxiliary_weight:
            losses["auxiliary"] = mask_loss(model.decode_mask(direct), masks)
            total = total + flow.auxiliary_weight * losses["auxiliary"]
        return {"loss": total, **losses}

    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the decoded latents after K steps of DDIM (eta = 0)."""
        model, count = self.module, self.settings.sampler_steps
        scheduler = ddim(count)
        maps = model.condition(image)
        side = image.shape[-1] // model.config.downsample
        z = seeded_noise(seeds, (model.latent_channels, side, side)).to(image.device)
        for step in scheduler.timesteps.tolist():
            times = torch.full((len(z),), step / TRAIN_STEPS, device=z.device)
            z, _ = scheduler.step(model.velocity(times, z, maps), step, z)
        return model.decode_mask(z).sigmoid()[:, 0]


def ddim(steps: int) -> DDIMScheduler:
    """Return a DDIM sampler whose steps end at clean data.

    MONAI spaces its time steps over the whole range but goes down by ``1000 // K`` in each:
    the offset makes both agree, from step 999 to the step before 0.
    """
    scheduler = DDIMScheduler(
        TRAIN_STEPS,
        schedule=SCHEDULE,
        prediction_type=PREDICTION,
        clip_sample=False,
        steps_offset=TRAIN_STEPS // steps - 1,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def _stratified(count: int, generator: torch.Generator) -> Tensor:
    """Return ``(count,)`` steps in 0..999, one in each of `count` equal intervals."""
    t = torch.rand(count, generator=generator) + torch.randperm(count, generator=generator)
    return (t / count * TRAIN_STEPS).long().clamp(0, TRAIN_STEPS - 1)
