"""Validation during training, through the same `Segmenter` that users run."""

from __future__ import annotations

from collections.abc import Callable
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
from latentfm_core.metrics.classes import class_dice, class_ged, class_iou
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.store.atomic import atomic_path
from latentfm_core.store.card import ModelCard, WeightsInfo
from latentfm_core.types import ImageInput, SampleSet, Summary

PICTURES = 6


def draft_card(config: Config) -> ModelCard:
    """Return a card for a model that has no file yet."""
    weights = WeightsInfo(sha256="0" * 64, size_bytes=1, dtype="float32")
    return ModelCard(id="in-training", config=config, weights=weights)


def validate(
    model: LatentFM,
    config: Config,
    data: CanvasSet,
    device: torch.device,
    picture: Path,
    should_stop: Callable[[], bool] = lambda: False,
    steps: int | None = None,
) -> dict[str, float]:
    """Return Dice and IoU of the mean mask over the first validation images.

    They are means over the raters and, with several classes, over those that occur; with
    several raters the GED is there too. Also writes `picture`, a PNG with a row for each of
    the first images: image with expert outline, mean probability, confidence, samples.
    Empty if `should_stop`, which is asked before every image, ends it. `steps` are ODE steps;
    None takes those of the settings.
    """
    training = config.training
    settings = config.sampling.model_copy(
        update={
            "n_samples": training.validation_samples,
            "steps": steps or training.validation_steps,
        }
    )
    segmenter = Segmenter(model, draft_card(config), str(device), training.precision)
    scores: list[dict[str, float]] = []
    rows: list[NDArray[Any]] = []
    for index in range(min(training.validation_images, len(data.names))):
        if should_stop():
            return {}
        truth = data.masks[index, : data.raters[index]]
        image = ImageInput(data.images[index], name=data.names[index])
        samples = segmenter.sample(image, settings)
        summary = segmenter.summarise(samples)
        scores.append(_figures(summary, truth))
        if index < PICTURES:
            rows.append(_row(data.images[index], truth[0] > 0, samples, summary))
    with atomic_path(picture) as temporary:
        imsave(temporary, np.concatenate(rows), check_contrast=False)
    return {
        f"val_{name}": float(np.mean([row[name] for row in scores if name in row]))
        for name in sorted({name for row in scores for name in row})
    }


def _figures(summary: Summary, truth: NDArray[np.uint8]) -> dict[str, float]:
    """Compare a summary with the labels ``(M, S, S)`` of M raters."""
    labels = np.asarray(summary.mean_mask)
    masks = np.asarray(summary.sample_masks)
    values: dict[str, Any] = {
        "dice": np.mean([class_dice(labels, rater) for rater in truth]),
        "iou": np.mean([class_iou(labels, rater) for rater in truth]),
        "sample_dice": np.mean([class_dice(mask, rater) for mask in masks for rater in truth]),
    }
    if len(truth) > 1:
        values["ged"] = class_ged(masks, truth)
    return {name: float(value) for name, value in values.items()}


def selection_score(validation: dict[str, float]) -> float:
    """Return the figure by which the best weights are kept; higher is better.

    With several raters that is -GED: the samples shall spread as the raters do, and the
    mean mask of a model that always answers the same could still score well.
    """
    return -validation["val_ged"] if "val_ged" in validation else validation["val_dice"]


def all_masks(data: CanvasSet) -> torch.Tensor:
    """Return the labels of all raters of all images, ``(sum of M, S, S)`` uint8."""
    used = np.arange(data.masks.shape[1]) < data.raters[:, None]
    return torch.from_numpy(data.masks[used])


def _row(
    image: NDArray[np.uint8], truth: NDArray[np.bool_], samples: SampleSet, summary: Summary
) -> NDArray[Any]:
    outlined = image.copy()
    edge = truth & ~binary_erosion(truth)
    outlined[edge] = (0, 255, 0)
    maps = [_drawable(summary.mean_probability), summary.confidence]
    maps += [_drawable(sample) for sample in samples.probabilities[:3]]
    grey = [np.repeat((m * 255).astype(np.uint8)[..., None], 3, axis=2) for m in maps]
    return np.concatenate([outlined, *grey], axis=1)


def _drawable(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is not background, ``(S, S)``."""
    return probabilities if probabilities.ndim == 2 else 1 - probabilities[0]


@torch.inference_mode()
def reconstruction_dice(model: LatentFM, data: CanvasSet, device: torch.device) -> float:
    """Return the mean Dice of masks after encoding and decoding by the mask VAE."""
    scores: list[float] = []
    channels = model.config.mask_channels
    for labels in torch.split(all_masks(data), 32):
        masks = one_hot(labels.to(device), channels)
        logits = model.decode_mask(model.encode_mask(masks))
        decoded = (logits[:, 0] > 0) if channels == 1 else logits.argmax(dim=1)
        pairs = zip(decoded.cpu().numpy(), labels.numpy(), strict=True)
        scores += [class_dice(again, truth) for again, truth in pairs]
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
