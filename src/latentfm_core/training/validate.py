"""Validation during training, through the same `Segmenter` that users run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.io import imsave

from latentfm_core.colours import RGB, picture_colours, rgb
from latentfm_core.config import Config
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import Cancelled
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.optional import best_effort
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.classes import class_dice, class_ged, class_iou
from latentfm_core.model_io.card import ModelCard, WeightsInfo
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.object_source import draw_mask
from latentfm_core.types import ImageInput, SampleSet, Summary

PICTURES = 6
FIGURES = ("dice", "ged", "iou", "sample_dice")


def draft_card(config: Config) -> ModelCard:
    """Return a card for a model that is not saved yet."""
    weights = WeightsInfo(sha256="0" * 64, size_bytes=1, dtype="float32")
    return ModelCard(id="in-training", config=config, weights=weights)


def validate(
    model: LatentFM,
    config: Config,
    data: CanvasSet,
    processes: ProcessGroup,
    picture: Path,
    should_stop: Callable[[], bool] = lambda: False,
    steps: int | None = None,
) -> dict[str, float]:
    """Return Dice and IoU of the mean mask over the first validation images.

    They are means over the raters and, with several classes, over those that occur; with
    several raters the GED is there too. Also writes `picture`, a PNG with a row for each of
    the first images, see `picture_row`.
    Several processes take some images each. `should_stop` is asked before every image and
    after every ODE step. `steps` are ODE steps; None takes those of the settings.

    Raises
    ------
    Cancelled
        If `should_stop` returned true in any process.
    """
    training = config.training
    settings = config.sampling.model_copy(
        update={
            "n_samples": training.validation_samples,
            "steps": steps or training.validation_steps,
            "precision": training.precision,
        }
    )
    segmenter = Segmenter(model, draft_card(config), str(processes.device), training.precision)
    rows: list[NDArray[Any]] = []

    def figures(index: int) -> dict[str, float]:
        truth = data.masks[index, : data.raters[index]]
        image = ImageInput(data.images[index], name=data.names[index])
        samples = segmenter.sample(image, settings, stopping(should_stop))
        summary = segmenter.summarise(samples)
        if index < PICTURES:
            rows.append(picture_row(data.images[index], truth[0], samples, summary))
        return _figures(summary, truth)

    count = min(training.validation_images, len(data.names))
    means = mean_figures(count, FIGURES, figures, processes, should_stop)
    if processes.first:
        write_picture(picture, rows)
    return {f"val_{name}": mean for name, mean in means.items()}


def write_picture(path: Path, rows: Sequence[NDArray[Any]]) -> None:
    """Write rows of `picture_row`, one below the other, as a PNG file."""
    if rows:
        with best_effort(path), atomic_path(path) as temporary:
            imsave(temporary, np.concatenate(rows), check_contrast=False)


def stopping(should_stop: Callable[[], bool]) -> Callable[[object], None]:
    """Return a callback for the steps of a validation, which raises `Cancelled` to end it."""

    def check(_: object) -> None:
        if should_stop():
            raise Cancelled("Stopped during a validation.")

    return check


def mean_figures(
    count: int,
    names: Sequence[str],
    figures: Callable[[int], Mapping[str, float]],
    processes: ProcessGroup,
    should_stop: Callable[[], bool],
) -> dict[str, float]:
    """Return the means over `count` images of the figures that occur.

    The images are divided among the processes. Rank 0 makes the picture and therefore segments all
    images in it.

    Parameters
    ----------
    names, figures
        Names of all figures, and the function that returns those of an image.

    Raises
    ------
    Cancelled
        If `should_stop` returned true, or `figures` raised it, in any process.
    """
    scores = np.full((count, len(names)), np.nan)
    stopped = False
    for index in range(count):
        if processes.rank == (0 if index < PICTURES else index % processes.size):
            stopped = should_stop()
            if stopped:
                break
            try:
                found = figures(index)
            except Cancelled:
                stopped = True
                break
            scores[index] = [found.get(name, np.nan) for name in names]
    scores, stopped = _gathered(scores, stopped, processes)
    if stopped:
        raise Cancelled("Stopped during a validation.")
    columns = dict(zip(names, scores.T, strict=True))
    known = {name: column[~np.isnan(column)] for name, column in columns.items()}
    return {name: float(np.mean(column)) for name, column in known.items() if column.size}


def _gathered(
    scores: NDArray[np.float64], stopped: bool, processes: ProcessGroup
) -> tuple[NDArray[np.float64], bool]:
    """Combine the values of all processes; NaN if none has a value."""
    if processes.size == 1:
        return scores, stopped
    known = ~np.isnan(scores)
    parts = [np.array([float(stopped)]), np.where(known, scores, 0).ravel(), known.ravel()]
    totals = processes.sum(torch.from_numpy(np.concatenate(parts))).cpu().numpy()
    values, known = totals[1:].reshape(2, *scores.shape)
    return np.where(known > 0, values, np.nan), bool(totals[0] > 0)


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
    """Return the metric that selects the best weights; higher is better.

    With several raters it is -GED: the samples should spread as the raters do, and the
    mean mask of a model whose samples are all equal could still score well.
    """
    return -validation["val_ged"] if "val_ged" in validation else validation["val_dice"]


DRAWN_MASKS = 1024
"""Crops of an `ObjectSet` used to standardise latents and measure the mask VAE."""


def all_masks(
    data: CanvasSet | ObjectSet, size: int, check: Callable[[], None] = lambda: None
) -> torch.Tensor:
    """Return the labels of all raters of all images, ``(sum of M, S, S)`` uint8.

    Of an `ObjectSet`, `DRAWN_MASKS` crops of side `size` that are always the same. `check` is
    called before each of them and may raise to abort.
    """
    if isinstance(data, ObjectSet):
        rng = np.random.default_rng(0)
        index = rng.choice(len(data.images), min(DRAWN_MASKS, 8 * len(data.images)), p=data.weights)
        crops = []
        for i in index:
            check()
            crops.append(draw_mask(data.images[i], size, rng, data.unprompted))
        return torch.from_numpy(np.stack(crops).astype(np.uint8))
    used = np.arange(data.masks.shape[1]) < data.raters[:, None]
    return torch.from_numpy(data.masks[used])


def picture_row(
    image: NDArray[np.uint8], truth: NDArray[Any], samples: SampleSet, summary: Summary
) -> NDArray[Any]:
    """Return image with outlines, mean probability, confidence and samples, side by side.

    Outlines and the probabilities of several classes have the colours of the classes;
    probabilities of a single class and the confidence are grey.

    Parameters
    ----------
    image
        ``(S, S, 3)``.
    truth
        Reference mask ``(S, S)``, bool or labels.
    """
    colours = [rgb(each) for each in picture_colours(len(samples.classes), samples.colours)]
    outlined = image.copy()
    for label, colour in enumerate(colours, 1):
        mask = truth == label
        outlined[mask & ~binary_erosion(mask)] = colour
    maps = [_drawable(summary.mean_probability, colours), _grey(summary.confidence)]
    maps += [_drawable(sample, colours) for sample in samples.probabilities[:3]]
    return np.concatenate([outlined, *maps], axis=1)


def _drawable(probabilities: NDArray[np.float32], colours: Sequence[RGB]) -> NDArray[np.uint8]:
    """Return ``(S, S)`` in grey, and ``(C + 1, S, S)`` as a mixture of the classes' colours."""
    if probabilities.ndim == 2:
        return _grey(probabilities)
    mixed = np.tensordot(probabilities[1:], np.array(colours, np.float32), axes=(0, 0))
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.repeat((values * 255).astype(np.uint8)[..., None], 3, axis=2)


@torch.inference_mode()
def reconstruction_dice(
    model: LatentFM,
    labels: torch.Tensor,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Return the mean Dice of masks after encoding and decoding by the mask VAE.

    Parameters
    ----------
    labels
        ``(n, S, S)`` uint8.
    check
        Called before each batch; may raise to abort.
    """
    scores: list[float] = []
    channels = model.config.mask_channels
    for part in torch.split(labels, 32):
        check()
        masks = one_hot(part.to(device), channels)
        logits = model.decode_mask(model.encode_mask(masks))
        decoded = (logits[:, 0] > 0) if channels == 1 else logits.argmax(dim=1)
        pairs = zip(decoded.cpu().numpy(), part.numpy(), strict=True)
        scores += [class_dice(again, truth) for again, truth in pairs]
    return float(np.mean(scores))


@torch.inference_mode()
def latent_statistics(
    encode: Any,
    values: torch.Tensor,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return per-channel mean and standard deviation ``(1, c, 1, 1)`` of encoded `values`.

    Accumulated in float64 over the whole set. `check` is called before each batch and may raise
    to abort.
    """
    count = 0
    total: torch.Tensor | float = 0.0
    squares: torch.Tensor | float = 0.0
    for part in torch.split(values, 32):
        check()
        z = encode(part.to(device)).mean.double()
        count += z.numel() // z.shape[1]
        total = total + z.sum(dim=(0, 2, 3), keepdim=True)
        squares = squares + z.square().sum(dim=(0, 2, 3), keepdim=True)
    mean = torch.as_tensor(total / count)
    variance = torch.as_tensor(squares / count) - mean.square()
    return mean.float(), variance.clamp_min(1e-12).sqrt().float()
