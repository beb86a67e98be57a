"""Access to images and masks of several raters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.accuracy.settings import RunSettings
from latentfm_core.config import DataConfig
from latentfm_core.datasets.in_memory import CanvasSet, load_canvases
from latentfm_core.datasets.pair_reading import read_binary
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import make_split
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.training.batch_source import BatchLoader
from latentfm_core.training.batches import draw_raters


@dataclass(frozen=True)
class Parts:
    """Files of the three parts; validation and test thinned out to their limits."""

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    test: tuple[Pair, ...]

    def counts(self) -> dict[str, int]:
        """Return how many images each part has."""
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}


def read_parts(settings: RunSettings) -> Parts:
    """Find the images of each part.

    Raises
    ------
    DatasetError
        If files are missing or the validation or test part is empty.
    """
    pairs = {pair.name: pair for pair in find_pairs(settings.images, settings.masks)}
    split = make_split(pairs, DataConfig(split_file=settings.split))
    if not split.val or not split.test:
        raise DatasetError(f"{settings.split} needs a validation and a test part.")
    val = _spread(split.val, settings.val_limit)
    test = _spread(split.test, settings.limit)
    return Parts(*(tuple(pairs[name] for name in part) for part in (split.train, val, test)))


def _spread(names: Sequence[str], limit: int | None) -> list[str]:
    """Return `limit` names at even distances, so that no patient or video fills the sample."""
    if limit is None or limit >= len(names):
        return list(names)
    return [names[index * len(names) // limit] for index in range(limit)]


def load_train(parts: Parts, settings: RunSettings) -> CanvasSet:
    """Decode the training images to the input size."""
    data = DataConfig(
        images=Path(settings.images), size=settings.size, mask_threshold=settings.mask_threshold
    )
    return load_canvases(parts.train, data)


def draw_batch(
    canvases: CanvasSet, index: NDArray[np.intp], device: torch.device, seed: int
) -> tuple[Tensor, Tensor]:
    """Return full-size images and masks, each mask of one rater drawn at random."""
    raters = draw_raters(canvases, index, seed)
    loader, size = BatchLoader(canvases, 1, device), canvases.images.shape[1]
    return loader.images(index, size), loader.masks(index, raters, size)


def read_cases(pairs: Sequence[Pair], mask_threshold: float | None) -> Iterator[Case]:
    """Yield images with the masks of all raters, one at a time, at native resolution."""
    for pair in pairs:
        read = read_binary(pair, mask_threshold)
        yield Case(read.image, read.masks)
