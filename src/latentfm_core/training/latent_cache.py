"""Cache for latents of the frozen VAEs, for augmentations that repeat images exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.augment import TURNS, turned
from latentfm_core.training.batch_source import ImageSource, Index, RowCache
from latentfm_core.training.global_batch import GlobalBatch


class LatentCache:
    """Image and mask latents of the flow stage, encoded on first use.

    Without augmentation an image has one latent, with flips and quarter turns eight. Strong
    augmentation never repeats an image, so nothing is cached. Each latent is
    encoded separately, so that it does not depend on which others were missing, and
    a resumed run gets what the uninterrupted one had.

    Parameters
    ----------
    model
        Its VAEs must be frozen.
    """

    KEEP_BYTES = 4 * 2**30
    """Latents are cached if together they take no more memory than this, in bytes."""

    def __init__(self, model: LatentFM, augmentation: str) -> None:
        self._model = model
        self._turns = {"none": 1, "flips": TURNS}.get(augmentation, 0)
        self._frozen = model.config.condition == "frozen"
        self._size = 0
        self._masks: RowCache | None = None
        self._images: RowCache | None = None

    def allows(self, source: ImageSource) -> bool:
        """Return whether latents of images of this side are cached."""
        if not self._turns:
            return False
        if source.size != self._size:
            self._size, self._masks, self._images = source.size, None, None
            c, side = self._model.latent_channels, source.size // self._model.config.downsample
            count, most = source.loader.shape
            masks = (count * most * self._turns, c, side, side)
            images = (count * self._turns * self._frozen, c, side, side)
            if 4 * (masks[0] + images[0]) * c * side**2 <= self.KEEP_BYTES:
                self._masks = RowCache(masks, torch.float32)
                self._images = RowCache(images, torch.float32) if self._frozen else None
        return self._masks is not None

    def batch(
        self, source: ImageSource, global_batch: GlobalBatch, *, with_masks: bool
    ) -> dict[str, Tensor]:
        """Return ``target``, ``condition`` or else ``images``, and ``masks`` if requested."""
        turns = torch.zeros(len(source.index)).long()
        if self._turns > 1:
            turns = global_batch.integers(TURNS)
        masks = source.index * source.loader.shape[1] + source.raters
        batch = {"target": self._latents(self._masks, masks, turns, source, self._encode_mask)}
        if self._images is not None:
            batch["condition"] = self._latents(
                self._images, source.index, turns, source, self._encode_image
            )
        else:
            images = self._turned(source.images(), turns)
            batch["images"] = images.contiguous(memory_format=torch.channels_last)
        if with_masks:
            batch["masks"] = self._turned(source.masks(), turns)
        return batch

    def _turned(self, values: Tensor, turns: Tensor) -> Tensor:
        return turned(values, turns) if self._turns > 1 else values

    def _latents(
        self,
        kept: RowCache | None,
        rows: Index,
        turns: Tensor,
        source: ImageSource,
        encode: Callable[[ImageSource, Index, Tensor], Tensor],
    ) -> Tensor:
        def make(missing: Index) -> Tensor:
            one_by_one = np.split(missing, len(missing))
            pairs = [
                (key // self._turns, torch.from_numpy(key % self._turns)) for key in one_by_one
            ]
            with source.network():
                return torch.cat([encode(source, row, turn) for row, turn in pairs])

        if kept is None:
            raise RuntimeError("call allows() first; it returned False or was not called")
        return kept.get(rows * self._turns + turns.numpy(), make).to(source.loader.device)

    def _encode_mask(self, source: ImageSource, row: Index, turn: Tensor) -> Tensor:
        most = source.loader.shape[1]
        masks = source.loader.masks(row // most, row % most, source.size)
        return self._model.encode_mask(self._turned(masks, turn))

    def _encode_image(self, source: ImageSource, row: Index, turn: Tensor) -> Tensor:
        images = self._turned(source.loader.images(row, source.size), turn)
        return self._model.features(images.contiguous(memory_format=torch.channels_last))[0]
