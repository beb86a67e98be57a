"""Images and masks of a data set as batches on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.inference.device import autocast
from latentfm_core.models.onehot import hard_masks, one_hot
from latentfm_core.training.step_timer import StepTimer

Index = NDArray[np.intp]


def _resized(values: Tensor, size: int) -> Tensor:
    return F.interpolate(values, (size, size), mode="bilinear", antialias=True)


class BatchLoader:
    """Loads images and masks of a data set onto a device, at the side that a stage requests.

    On the CPU, downscaled images are cached: resizing them for every batch would take
    longer than the optimiser. A GPU has better uses for its memory.
    """

    KEEP_BYTES = 4 * 2**30
    """Downscaled images are cached if they take no more memory than this, in bytes."""

    def __init__(self, canvases: CanvasSet, channels: int, device: torch.device) -> None:
        self.canvases = canvases
        self._channels = channels
        self.device = device
        self._kept_size = 0
        self._kept: tuple[RowCache, RowCache] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images, and largest number of raters."""
        count, most = self.canvases.masks.shape[:2]
        return count, most

    def images(self, index: Index, size: int) -> Tensor:
        """Return the images at `index`, ``(B, 3, size, size)`` float32 in [0, 1]."""

        def small(index: Index) -> Tensor:
            return _resized(self._full_images(index), size).clamp(0, 1)

        if size == self.canvases.images.shape[1]:
            return self._full_images(index)
        kept = self._keep(size)
        return kept[0].get(index, small) if kept else small(index)

    def masks(self, index: Index, raters: Index, size: int) -> Tensor:
        """Return the masks of `raters`, ``(B, K, size, size)`` float32 in {0, 1}."""
        most = self.canvases.masks.shape[1]

        def small(row: Index) -> Tensor:
            return hard_masks(_resized(self._full_masks(row // most, row % most), size))

        if size == self.canvases.masks.shape[-1]:
            return self._full_masks(index, raters)
        kept, rows = self._keep(size), index * most + raters
        return kept[1].get(rows, small) if kept else small(rows)

    def _full_images(self, index: Index) -> Tensor:
        images = torch.from_numpy(self.canvases.images[index]).to(self.device)
        return images.permute(0, 3, 1, 2).float().div_(255)

    def _full_masks(self, index: Index, raters: Index) -> Tensor:
        labels = torch.from_numpy(self.canvases.masks[index, raters]).to(self.device)
        return one_hot(labels, self._channels)

    def _keep(self, size: int) -> tuple[RowCache, RowCache] | None:
        if size != self._kept_size:
            self._kept_size, self._kept = size, None
            count, most = self.shape
            images = (count, 3, size, size)
            masks = (count * most, self._channels, size, size)
            needed = 4 * int(np.prod(images)) + int(np.prod(masks))
            if self.device.type == "cpu" and needed <= self.KEEP_BYTES:
                self._kept = RowCache(images, torch.float32), RowCache(masks, torch.uint8)
        return self._kept


class RowCache:
    """Rows computed on first use."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._rows = torch.empty(shape, dtype=dtype)
        self._known = np.zeros(shape[0], bool)

    def get(self, index: Index, make: Callable[[Index], Tensor]) -> Tensor:
        """Return the rows at `index`; `make` computes the missing ones."""
        missing = np.unique(index[~self._known[index]])
        if missing.size:
            self._rows[torch.from_numpy(missing)] = make(missing).to("cpu", self._rows.dtype)
            self._known[missing] = True
        return self._rows[torch.from_numpy(index)].float()


@dataclass(frozen=True)
class ImageSource:
    """Images and masks of one process in one step; a stage reads only what it needs."""

    loader: BatchLoader
    index: Index
    raters: Index
    size: int
    timer: StepTimer
    dtype: torch.dtype

    def images(self) -> Tensor:
        """Return the images ``(B, 3, size, size)``, as `BatchLoader.images` does."""
        with self.timer.part("data"):
            return self.loader.images(self.index, self.size)

    def masks(self) -> Tensor:
        """Return the masks ``(B, K, size, size)``, as `BatchLoader.masks` does."""
        with self.timer.part("data"):
            return self.loader.masks(self.index, self.raters, self.size)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Run networks without gradients inside the block."""
        with (
            self.timer.part("network"),
            torch.no_grad(),
            autocast(self.loader.device, self.dtype),
        ):
            yield
