"""Augmentation of whole batches: every random number comes from the given generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.models.onehot import harden


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _matrices(count: int, generator: torch.Generator) -> Tensor:
    """Return ``(count, 2, 3)`` affine maps from output to input coordinates in [-1, 1]."""
    angle = _uniform(count, -math.pi, math.pi, generator)
    scale = torch.exp(_uniform(count, math.log(0.75), math.log(1.3), generator))
    aspect = torch.exp(_uniform(count, -0.15, 0.15, generator))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [
        torch.stack([cos * aspect * mirror, -sin, _uniform(count, -0.15, 0.15, generator)], dim=1),
        torch.stack([sin * mirror, cos / aspect, _uniform(count, -0.15, 0.15, generator)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _warp(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    both = torch.cat([images, masks], dim=1)
    theta = _matrices(len(images), generator).to(images.device)
    grid = F.affine_grid(theta, list(both.shape), align_corners=False)
    warped = F.grid_sample(both, grid, padding_mode="reflection", align_corners=False)
    return warped[:, :3], harden(warped[:, 3:])


def _colour(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        values = _uniform(count * channels, low, high, generator)
        return values.reshape(count, channels, 1, 1).to(images.device)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * draw(0.7, 1.3) + mean * draw(0.75, 1.25)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * draw(0.6, 1.4)
    images = images * draw(0.92, 1.08, 3)
    return images.clamp(0, 1).pow(torch.exp(draw(-0.25, 0.25)))


def _blur_and_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand(count, generator=generator) * (torch.rand(count, generator=generator) < 0.3)
    images = torch.lerp(images, blurred, share.reshape(-1, 1, 1, 1).to(images.device))
    level = 0.03 * torch.rand(count, generator=generator)
    level = level * (torch.rand(count, generator=generator) < 0.3)
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return images + noise * level.reshape(-1, 1, 1, 1).to(images.device)


def _flips(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    both = torch.cat([images, masks], dim=1)
    choice = torch.randint(8, (len(both),), generator=generator).tolist()
    moved = [
        torch.rot90(item.flip(-1) if k >= 4 else item, k % 4, (-2, -1))
        for item, k in zip(both, choice, strict=True)
    ]
    both = torch.stack(moved)
    return both[:, :3], both[:, 3:]


def augment(
    images: Tensor, masks: Tensor, kind: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Augment a batch.

    Parameters
    ----------
    images
        ``(B, 3, S, S)`` float in [0, 1].
    masks
        ``(B, K, S, S)`` float in {0, 1}, one-hot if K > 1.
    kind
        ``"none"``, ``"flips"`` or ``"strong"``.
    generator
        CPU generator.

    Returns
    -------
    tuple of Tensor
        Images and masks of the same shapes, ranges and device.
    """
    if kind == "none":
        return images, masks
    if kind == "flips":
        return _flips(images, masks, generator)
    images, masks = _warp(images, masks, generator)
    images = _blur_and_noise(_colour(images, generator), generator)
    return images.clamp(0, 1), masks


def augment_masks(masks: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Augment masks alone, for the mask VAE."""
    if kind == "none":
        return masks
    blank = masks.new_zeros((len(masks), 3, *masks.shape[-2:]))
    move = _flips if kind == "flips" else _warp
    return move(blank, masks, generator)[1]
