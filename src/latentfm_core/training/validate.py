"""Validation during training, through the same `Segmenter` that users run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.io import imsave

from latentfm_core.config import Config
from latentfm_core.data.loading import CanvasSet
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice, iou
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.store.atomic import atomic_path
from latentfm_core.store.card import ModelCard, WeightsInfo
from latentfm_core.types import ImageInput, SampleSet, Summary
from latentfm_core.uncertainty.summary import summarise

PICTURES = 6


def draft_card(config: Config) -> ModelCard:
    """Return a card for a model that has no file yet."""
    weights = WeightsInfo(sha256="0" * 64, size_bytes=1, dtype="float32")
    return ModelCard(id="in-training", config=config, weights=weights)


def validate(
    model: LatentFM, config: Config, data: CanvasSet, device: torch.device, picture: Path
) -> dict[str, float]:
    """Return Dice and IoU of the mean mask over the first validation images.

    Also writes `picture`, a PNG with a row for each of the first images: image with expert
    outline, mean probability, confidence, samples.
    """
    training = config.training
    settings = config.sampling.model_copy(
        update={"n_samples": training.validation_samples, "steps": training.validation_steps}
    )
    segmenter = Segmenter(model, draft_card(config), str(device), training.precision)
    scores: list[tuple[float, float, float]] = []
    rows: list[NDArray[Any]] = []
    for index in range(min(training.validation_images, len(data.names))):
        truth = data.masks[index].astype(bool)
        image = ImageInput(data.images[index], name=data.names[index])
        samples = segmenter.sample(image, settings)
        summary = summarise(samples, settings.threshold)
        single = np.mean([dice(mask, truth) for mask in summary.sample_masks])
        mean_mask = summary.mean_mask
        scores.append((dice(mean_mask, truth), iou(mean_mask, truth), float(single)))
        if index < PICTURES:
            rows.append(_row(data.images[index], truth, samples, summary))
    with atomic_path(picture) as temporary:
        imsave(temporary, np.concatenate(rows), check_contrast=False)
    means = np.mean(scores, axis=0)
    return {
        "val_dice": float(means[0]),
        "val_iou": float(means[1]),
        "val_sample_dice": float(means[2]),
    }


def _row(
    image: NDArray[np.uint8], truth: NDArray[np.bool_], samples: SampleSet, summary: Summary
) -> NDArray[Any]:
    outlined = image.copy()
    edge = truth & ~binary_erosion(truth)
    outlined[edge] = (0, 255, 0)
    maps = [summary.mean_probability, summary.confidence, *samples.probabilities[:3]]
    grey = [np.repeat((m * 255).astype(np.uint8)[..., None], 3, axis=2) for m in maps]
    return np.concatenate([outlined, *grey], axis=1)


@torch.inference_mode()
def reconstruction_dice(model: LatentFM, data: CanvasSet, device: torch.device) -> float:
    """Return the mean Dice of masks after encoding and decoding by the mask VAE."""
    scores: list[float] = []
    for start in range(0, len(data.names), 32):
        masks = torch.from_numpy(data.masks[start : start + 32])[:, None].float().to(device)
        decoded = (model.decode_mask(model.encode_mask(masks)) > 0).cpu().numpy()
        truth = masks.cpu().numpy() > 0.5
        scores += [dice(d[0], s[0]) for d, s in zip(decoded, truth, strict=True)]
    return float(np.mean(scores))


@torch.inference_mode()
def latent_statistics(
    encode: Any, values: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return per-channel mean and standard deviation ``(1, c, 1, 1)`` of encoded `values`.

    Accumulated in float64 over the whole set.
    """
    count = 0
    total: torch.Tensor | float = 0.0
    squares: torch.Tensor | float = 0.0
    for part in torch.split(values, 32):
        z = encode(part.to(device)).mean.double()
        count += z.numel() // z.shape[1]
        total = total + z.sum(dim=(0, 2, 3), keepdim=True)
        squares = squares + z.square().sum(dim=(0, 2, 3), keepdim=True)
    mean = torch.as_tensor(total / count)
    variance = torch.as_tensor(squares / count) - mean.square()
    return mean.float(), variance.clamp_min(1e-12).sqrt().float()
