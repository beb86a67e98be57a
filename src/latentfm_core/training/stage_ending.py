"""End of a stage: latent statistics, best weights, and scores for the model card."""

from __future__ import annotations

import logging

import torch

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.models.onehot import one_hot
from latentfm_core.models.vae import VAE
from latentfm_core.training.run_state import RunState
from latentfm_core.training.selection import score_few_steps, score_unvalidated, take_best
from latentfm_core.training.validate import all_masks, latent_statistics, reconstruction_dice

logger = logging.getLogger(__name__)


def end_stage(run: RunState) -> None:
    """Do what follows the last step of the current stage, and go to the next one.

    Raises
    ------
    Cancelled
        If the user aborted it; it can be repeated.
    """
    stage = run.position.stage
    run.model.eval()
    # Latents that a trained flow already uses must keep their scale.
    kept = run.options.init is not None and not getattr(run.config.training, stage).epochs
    if stage == "image_vae" and not kept:
        _standardise_images(run)
    elif stage == "mask_vae":
        if not kept:
            _standardise_masks(run)
        _score_reconstruction(run)
    elif stage == "flow":
        score_unvalidated(run)
        if run.processes.first:
            take_best(run.model, run.folder)
    elif stage == "distill" and run.data.val is not None:
        score_few_steps(run, run.data.val)
    run.position.end_stage()


def _standardise_images(run: RunState) -> None:
    model, vae, train = run.model, run.model.image_vae, run.data.train
    if not isinstance(vae, VAE) or not isinstance(train, CanvasSet):
        return
    images = torch.from_numpy(train.images).permute(0, 3, 1, 2)
    mean, std = latent_statistics(
        lambda x: vae.encode(x.float() / 127.5 - 1), images, run.device, run.check_urgent
    )
    model.image_latent_mean.copy_(mean)
    model.image_latent_std.copy_(std)


def _standardise_masks(run: RunState) -> None:
    model, channels = run.model, run.config.model.mask_channels
    mean, std = latent_statistics(
        lambda x: model.mask_vae.encode(one_hot(x, channels) * 2 - 1),
        all_masks(run.data.train, run.config.data.size, run.check_urgent),
        run.device,
        run.check_urgent,
    )
    model.latent_mean.copy_(mean)
    model.latent_std.copy_(std)


def _score_reconstruction(run: RunState) -> None:
    measured = run.data.val or run.data.train
    masks = all_masks(measured, run.config.data.size, run.check_urgent)
    score = reconstruction_dice(run.model, masks, run.device, run.check_urgent)
    logger.info("mask VAE reconstruction Dice: %.4f", score)
    run.position.metrics["val_mask_vae_dice"] = score
