"""Augmentation of whole batches: every random number comes from the step's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.models.onehot import hard_masks
from latentfm_core.training.global_batch import GlobalBatch

TURNS = 8
"""Flips and quarter turns of a square, the identity among them."""


def _matrices(global_batch: GlobalBatch) -> Tensor:
    """Return ``(rows, 2, 3)`` affine maps from output to input coordinates in [-1, 1]."""
    angle = global_batch.uniform(-math.pi, math.pi)
    scale = torch.exp(global_batch.uniform(math.log(0.75), math.log(1.3)))
    aspect = torch.exp(global_batch.uniform(-0.15, 0.15))
    mirror = torch.where(global_batch.uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [
        torch.stack([cos * aspect * mirror, -sin, global_batch.uniform(-0.15, 0.15)], dim=1),
        torch.stack([sin * mirror, cos / aspect, global_batch.uniform(-0.15, 0.15)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _warp(values: Tensor, global_batch: GlobalBatch) -> Tensor:
    theta = _matrices(global_batch).to(values.device)
    grid = F.affine_grid(theta, list(values.shape), align_corners=False)
    return F.grid_sample(values, grid, padding_mode="reflection", align_corners=False)


def _colour(images: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Change colours in place: at 256 x 256, memory traffic is the main cost."""

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return global_batch.uniform(low, high, channels, 1, 1).to(images.device)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = images.sub_(mean).mul_(draw(0.7, 1.3)).add_(mean * draw(0.75, 1.25))
    grey = images.mean(dim=1, keepdim=True)
    images = images.sub_(grey).mul_(draw(0.6, 1.4)).add_(grey)
    images = images.mul_(draw(0.92, 1.08, 3))
    return images.clamp_(0, 1).pow_(torch.exp(draw(-0.25, 0.25)))


def _blur_and_noise(images: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Blur some images and add noise to some, in place."""
    share = global_batch.uniform(0, 1) * (global_batch.uniform(0, 1) < 0.3)
    level = 0.03 * global_batch.uniform(0, 1)
    level = level * (global_batch.uniform(0, 1) < 0.3)
    noise = global_batch.normal(*images.shape[1:])
    some = share.nonzero()[:, 0]
    if len(some):
        chosen = images[some.to(images.device)]
        blurred = F.avg_pool2d(F.pad(chosen, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        weight = share[some].reshape(-1, 1, 1, 1).to(images.device)
        images[some.to(images.device)] = torch.lerp(chosen, blurred, weight)
    some = level.nonzero()[:, 0]
    if len(some):
        added = noise[some].mul_(level[some].reshape(-1, 1, 1, 1)).to(images.device)
        images.index_add_(0, some.to(images.device), added)
    return images


def turned(values: Tensor, choice: Tensor) -> Tensor:
    """Turn each of ``(B, C, S, S)`` values by one of the `TURNS`.

    Choice k in 4..7 mirrors first; then come ``k % 4`` quarter turns.
    """
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    for k in range(TURNS):
        rows = (choice == k).nonzero()[:, 0].to(values.device)
        if len(rows):
            some = values[rows]
            out[rows] = torch.rot90(some.flip(-1) if k >= 4 else some, k % 4, (-2, -1))
    return out


def _move(values: Tensor, kind: str, global_batch: GlobalBatch) -> Tensor:
    if kind == "flips":
        return turned(values, global_batch.integers(TURNS))
    return _warp(values, global_batch)


def augment(
    images: Tensor, masks: Tensor, kind: str, global_batch: GlobalBatch
) -> tuple[Tensor, Tensor]:
    """Augment a batch, and return images and masks of the same shapes, ranges and device.

    Parameters
    ----------
    images
        ``(B, 3, S, S)`` float in [0, 1].
    masks
        ``(B, K, S, S)`` float in {0, 1}, one-hot if K > 1.
    kind
        ``"none"``, ``"flips"`` or ``"strong"``.
    """
    if kind == "none":
        return images, masks
    both = _move(torch.cat([images, masks], dim=1), kind, global_batch)
    images, masks = both[:, :3], both[:, 3:]
    if kind == "strong":
        images, masks = change_photograph(images.contiguous(), global_batch), hard_masks(masks)
    return images, masks


def augment_images(images: Tensor, kind: str, global_batch: GlobalBatch) -> Tensor:
    """Augment images alone, as `augment` does."""
    if kind == "none":
        return images
    images = _move(images, kind, global_batch)
    return change_photograph(images, global_batch) if kind == "strong" else images


def augment_masks(masks: Tensor, kind: str, global_batch: GlobalBatch) -> Tensor:
    """Augment masks alone, for the mask VAE."""
    if kind == "none":
        return masks
    masks = _move(masks, kind, global_batch)
    return hard_masks(masks) if kind == "strong" else masks


def change_photograph(images: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Change colours, sharpness and noise of images in place, as another camera would."""
    return _blur_and_noise(_colour(images, global_batch), global_batch).clamp_(0, 1)
