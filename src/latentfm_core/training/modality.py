"""Augmentation towards modalities that no training set contains, such as ultrasound."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.training.global_batch import GlobalBatch

GREY = 0.25
"""Share of the images whose colours are removed."""

INVERTED = 0.06
"""Share of the images whose intensities are inverted: bright lesions become dark ones."""

SHADED = 0.25
"""Share of the images with a smooth change of brightness, as of depth in ultrasound."""

SPECKLED = 0.5
"""Share of the grey images with speckle and another contrast curve."""

SHADE_GRID = 4
"""Rows and columns of the random grid that the smooth change of brightness interpolates."""


def change_modality(images: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Make some images grey, speckled, shaded or inverted, in place, and return them.

    Colour photographs without their colours, and CT inverted, lie between the modalities that
    a model is trained on and those that it has never seen.

    Parameters
    ----------
    images
        ``(B, 3, S, S)`` float in [0, 1].
    """
    grey, inverted, shaded, speckled = (
        global_batch.uniform(0, 1) < share for share in (GREY, INVERTED, SHADED, SPECKLED)
    )
    rows = _rows(grey, images)
    if len(rows):
        images[rows] = images[rows].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    _speckle(images, grey & speckled, global_batch)
    _shade(images, shaded, global_batch)
    rows = _rows(inverted, images)
    if len(rows):
        images[rows] = 1 - images[rows]
    return images


def _rows(chosen: Tensor, images: Tensor) -> Tensor:
    return chosen.nonzero()[:, 0].to(images.device)


def _speckle(images: Tensor, chosen: Tensor, global_batch: GlobalBatch) -> None:
    """Multiply by correlated noise and change the contrast curve: grey images stay grey."""
    power = torch.exp(global_batch.uniform(-0.5, 0.5, 1, 1, 1))
    level = global_batch.uniform(0.05, 0.3, 1, 1, 1)
    side = images.shape[-1]
    noise = global_batch.normal(1, side // 2, side // 2)
    rows = _rows(chosen, images)
    if not len(rows):
        return
    grain = F.interpolate(noise[chosen], size=(side, side), mode="bilinear", align_corners=False)
    gain = (1 + level[chosen] * grain).to(images.device)
    images[rows] = (images[rows].pow(power[chosen].to(images.device)) * gain).clamp(0, 1)


def _shade(images: Tensor, chosen: Tensor, global_batch: GlobalBatch) -> None:
    """Multiply by a smooth random field, about 0.6 to 1.7 times the brightness."""
    coarse = torch.exp(0.25 * global_batch.normal(1, SHADE_GRID, SHADE_GRID))
    rows = _rows(chosen, images)
    if not len(rows):
        return
    size = (images.shape[-2], images.shape[-1])
    gain = F.interpolate(coarse[chosen], size=size, mode="bicubic", align_corners=True)
    images[rows] = (images[rows] * gain.to(images.device)).clamp(0, 1)
