"""Losses of the three stages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_FOREGROUND_WEIGHT = 10.0


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean soft Dice loss, one value per image, smoothed by one pixel.

    1 - (2 sum(p s) + 1) / (sum(p) + sum(s) + 1) (Milletari et al. 2016, with linear sums).
    """
    p = logits.sigmoid().flatten(1)
    s = target.flatten(1)
    overlap = 2 * (p * s).sum(1) + 1
    return (1 - overlap / (p.sum(1) + s.sum(1) + 1)).mean()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return BCE + soft Dice of mask logits ``(B, 1, S, S)``."""
    return F.binary_cross_entropy_with_logits(logits, target) + dice_loss(logits, target)


def reconstruction_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mask VAE's loss: foreground-weighted BCE + soft Dice.

    The weight of the foreground is the square root of background over foreground in the
    batch, so that small structures are not given up for the background's sake.
    """
    share = target.mean().clamp(1e-4, 1.0)
    weight = ((1 - share) / share).sqrt().clamp(1.0, MAX_FOREGROUND_WEIGHT)
    bce = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
    return bce + dice_loss(logits, target)


def velocity_loss(predicted: Tensor, velocity: Tensor) -> Tensor:
    """Return the flow-matching objective, the mean squared error of the velocity."""
    return F.mse_loss(predicted, velocity)


def soft_dice_score(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean Dice of thresholded logits, for progress lines."""
    p = (logits > 0).flatten(1).to(torch.float32)
    s = target.flatten(1)
    return ((2 * (p * s).sum(1) + 1e-6) / (p.sum(1) + s.sum(1) + 1e-6)).mean()
