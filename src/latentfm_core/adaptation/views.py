"""Features of accepted images, computed once and kept within bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentfm_core.config import AdaptationConfig
from latentfm_core.datasets.object_set import TrainingImage
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.device import autocast
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.augment import change_photograph
from latentfm_core.training.batches import generator_for, seed_for
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.object_source import draw_crop
from latentfm_core.types import Bool, ImageInput, check_labels

KEPT_TYPE = torch.float16
"""Format of kept features: half the memory, with enough digits for training."""


@dataclass(frozen=True)
class View:
    """One augmented crop of an accepted image.

    Attributes
    ----------
    features
        Maps of `LatentFM.image_features`, each ``(C, h, w)``.
    target
        ``(S, S)`` bool, the mask to learn.
    shown
        ``(S, S)`` bool, the object that a prompt is made from.
    """

    features: tuple[Tensor, ...]
    target: Bool
    shown: Bool
    prompted: bool

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        maps = sum(each.numel() * each.element_size() for each in self.features)
        return maps + self.target.nbytes + self.shown.nbytes


def training_image(image: ImageInput, labels: NDArray[Any]) -> TrainingImage:
    """Return an accepted image as a training image.

    Parameters
    ----------
    labels
        ``(H, W)`` integers. A single label is the foreground; several are separate objects.
    """
    check_labels(labels, f"labels of {image.name}")
    rgb = np.rint(to_rgb(image) * 255).astype(np.uint8)
    if len(np.unique(labels[labels > 0])) > 1:
        numbered = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        # Numbers begin at 0, the background, also where every pixel is marked.
        numbered = numbered + (0 if (labels == 0).any() else 1)
        return TrainingImage(image.name, rgb, numbered[None].astype(np.uint16), "instances")
    return TrainingImage(image.name, rgb, (labels > 0)[None].astype(np.uint8))


def draw_views(
    model: LatentFM,
    item: TrainingImage,
    size: int,
    config: AdaptationConfig,
    number: int,
    dtype: torch.dtype = torch.float32,
) -> Iterator[View]:
    """Yield views of an accepted image, one encoder run each.

    Parameters
    ----------
    model
        Its encoder is never changed by the adaptation.
    number
        Different for each image; the random choices depend on it and on the seed.
    """
    for index in range(config.views):
        seed = seed_for(config.seed, number, index)
        crop = draw_crop(item, size, np.random.default_rng(seed), config.unprompted)
        alone = GlobalBatch.alone(generator_for(config.seed, number, index, 1), 1)
        image = change_photograph(crop.image[None].contiguous(), alone)
        with torch.no_grad(), autocast(torch.device("cpu"), dtype):
            maps = model.image_features(image.contiguous(memory_format=torch.channels_last))
        features = tuple(each[0].to(KEPT_TYPE).contiguous() for each in maps)
        yield View(features, crop.target, crop.shown, crop.prompted)


class ViewStore:
    """Views by the fingerprint of their image, within a limit of memory.

    Views of an image are independent draws: if memory runs short, every image keeps the same
    smaller number of them. If one of each is still too much, the oldest images are dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._views: OrderedDict[str, list[View]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._views

    @property
    def nbytes(self) -> int:
        """Size of all views in bytes."""
        return sum(view.nbytes for views in self._views.values() for view in views)

    def add(self, fingerprint: str, view: View) -> None:
        """Add a view of an image."""
        self._views.setdefault(fingerprint, []).append(view)
        most = max(1, self._limit // (view.nbytes * len(self._views)))
        for views in self._views.values():
            del views[most:]
        while self.nbytes > self._limit and len(self._views) > 1:
            self._views.popitem(last=False)

    def drop(self, fingerprint: str) -> None:
        """Remove the views of an image, if any."""
        self._views.pop(fingerprint, None)

    def clear(self) -> None:
        """Remove all views."""
        self._views.clear()

    def draw(self, count: int, rng: np.random.Generator) -> list[View]:
        """Return views of images drawn at random, all images equally likely."""
        names = list(self._views)
        images = [self._views[names[int(i)]] for i in rng.integers(len(names), size=count)]
        return [views[int(rng.integers(len(views)))] for views in images]
