"""Batches with prompts, and corrections of the model's own samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentfm_core.flow.solvers import integrate
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.augment import change_photograph
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.modality import change_modality
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.painting import paint_some
from latentfm_core.training.prompt_simulation import correct, simulate_prompts

SAMPLE_STEPS = 2
"""Euler steps of such a sample: enough to show the model's typical errors."""


def prompted_batch(
    source: ObjectSource, augmentation: str, global_batch: GlobalBatch
) -> dict[str, Tensor]:
    """Return a batch for a promptable model.

    It has ``images`` ``(B, 3, S, S)``, ``masks`` ``(B, 1, S, S)``, ``prompts`` ``(B, 4, S, S)``,
    ``corrected`` ``(B,)`` bool, and ``seeds`` ``(B,)`` for the corrections.
    """
    crops = source.crops()
    images = crops.images
    if augmentation == "strong":
        images = change_modality(change_photograph(images, global_batch), global_batch)
        images = paint_some(images, crops.targets, global_batch)
    absent = ~crops.targets.bool().flatten(1).any(dim=1).cpu().numpy()
    sources = (np.random.default_rng((seed, 1)) for seed in source.seeds)
    prompts, corrected = simulate_prompts(crops.shown, absent, crops.prompted, sources)
    device = images.device
    return {
        "images": images.contiguous(memory_format=torch.channels_last),
        "masks": crops.targets,
        "prompts": torch.from_numpy(prompts).to(device),
        "corrected": torch.from_numpy(corrected),
        "seeds": torch.tensor(source.seeds),
    }


def with_corrections(
    model: LatentFM, features: Sequence[Tensor], batch: dict[str, Tensor], global_batch: GlobalBatch
) -> Tensor:
    """Return the prompts of a batch with corrections of samples from the current model."""
    prompts = batch["prompts"]
    side = prompts.shape[-1] // model.config.downsample
    noise = global_batch.normal(model.latent_channels, side, side)
    rows = batch["corrected"].nonzero()[:, 0]
    if not len(rows):
        return prompts
    samples = _samples(model, [f.detach()[rows] for f in features], prompts[rows], noise[rows])
    targets = batch["masks"][rows, 0].cpu().numpy() > 0
    changed = prompts[rows].cpu().numpy()
    for k, row in enumerate(rows.tolist()):
        rng = np.random.default_rng((int(batch["seeds"][row]), 2))
        correct(changed[k], samples[k], targets[k], rng)
    out = prompts.clone()
    out[rows] = torch.from_numpy(changed).to(out)
    return out


@torch.no_grad()
def _samples(
    model: LatentFM, features: list[Tensor], prompts: Tensor, noise: Tensor
) -> NDArray[np.bool_]:
    """Return one sample ``(B, S, S)`` bool for each row."""
    maps = model.condition_of(features, prompts)
    z = noise.to(prompts.device)

    def velocity(t: float, state: Tensor) -> Tensor:
        times = torch.full((len(state),), t, device=state.device)
        slope: Tensor = model.velocity(times, state, maps)
        return slope

    for state in integrate(velocity, z, SAMPLE_STEPS, "euler"):
        z = state
    found: NDArray[np.bool_] = (model.decode_mask(z)[:, 0] > 0).cpu().numpy()
    return found
