"""Fit the domain of a model's training images, to detect out-of-domain images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from latentfm_core.errors import DatasetError
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import Float32, ImageInput
from latentfm_core.uncertainty.domain import TrainingDomain, fit_domain

MOST_TRAIN, MOST_VAL = 1000, 400
"""Images used from each part; more add little."""

MOST_OF_ONE_TRAIN, MOST_OF_ONE_VAL = 500, 125
"""Images used from a single data set."""

COPIES = 2
"""Augmented copies of each image. Without them, the domain is the camera and framing of one data
set, and a crop of a training image would be outside."""

SEED = 2018

_SIDE = (0.65, 1.0)
_CONTRAST = (0.8, 1.2)
_BRIGHTNESS = (0.75, 1.25)
_TINT = (0.95, 1.05)
_MIN_PIXELS = 8

T = TypeVar("T")


def drawn(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items, drawn with a fixed seed, in their order."""
    chosen = np.random.default_rng(SEED).permutation(len(items))[:most]
    return [items[index] for index in sorted(chosen)]


def changed(rgb: Float32, rng: np.random.Generator) -> Float32:
    """Return a random crop with changed brightness, contrast and tint, possibly mirrored.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` float32 in [0, 1].
    """
    rows, columns = (_part(length, rng) for length in rgb.shape[:2])
    part = rgb[rows, columns]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    mean = float(part.mean())
    brighter = (part - mean) * rng.uniform(*_CONTRAST) + mean * rng.uniform(*_BRIGHTNESS)
    tinted = brighter * rng.uniform(*_TINT, 3)
    return np.ascontiguousarray(np.clip(tinted, 0, 1), np.float32)


def _part(length: int, rng: np.random.Generator) -> slice:
    kept = min(length, max(_MIN_PIXELS, round(length * rng.uniform(*_SIDE))))
    start = int(rng.integers(0, length - kept + 1))
    return slice(start, start + kept)


def domain_of(
    segmenter: Segmenter,
    train: Sequence[Iterable[ImageInput]],
    val: Iterable[ImageInput],
    on_image: Callable[[], object] = lambda: None,
) -> TrainingDomain:
    """Fit the domain of a model.

    Parameters
    ----------
    train
        Images of each training set, consumed one by one.
    val
        Validation images; never those of reported scores.

    Raises
    ------
    DatasetError
        If a part has no images.
    ImageError
        If an image cannot be used.
    """
    rng = np.random.default_rng(SEED)

    def features(images: Iterable[ImageInput]) -> Float32:
        rows: list[Float32] = []
        for image in images:
            rgb = to_rgb(image)
            copies = (changed(rgb, rng) for _ in range(COPIES))
            rows += [segmenter.mean_features(seen) for seen in (rgb, *copies)]
            on_image()
        if not rows:
            raise DatasetError(
                "The out-of-domain score needs training and validation images; a part is empty."
            )
        return np.stack(rows)

    known, held_out = [features(images) for images in train], features(val)
    n_train, n_val = (count // (1 + COPIES) for count in (sum(map(len, known)), len(held_out)))
    return fit_domain(known, held_out, segmenter.card.config.data.size, n_train, n_val)
