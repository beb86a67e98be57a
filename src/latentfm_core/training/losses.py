"""Losses of the three stages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.models.onehot import hard_masks

MAX_FOREGROUND_WEIGHT = 10.0


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean soft Dice loss over images and foreground classes.

    1 - (2 sum(p s) + 1) / (sum(p) + sum(s) + 1) (Milletari et al. 2016, with linear sums),
    smoothed by one pixel.
    """
    p = _foreground(probabilities(logits)).flatten(2)
    s = _foreground(target).flatten(2)
    overlap = 2 * (p * s).sum(2) + 1
    return (1 - overlap / (p.sum(2) + s.sum(2) + 1)).mean()


def probabilities(logits: Tensor) -> Tensor:
    """Return sigmoid (one channel) or softmax of mask logits ``(B, K, S, S)``."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def _foreground(masks: Tensor) -> Tensor:
    return masks if masks.shape[1] == 1 else masks[:, 1:]


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return BCE or categorical cross-entropy; `weight` is that of the foreground."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
    weights = torch.cat([weight.new_ones(1), weight.expand(logits.shape[1] - 1)])
    pixel = -(target * logits.log_softmax(dim=1)).permute(0, 2, 3, 1) @ weights.to(logits.dtype)
    return pixel.mean()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy + soft Dice of mask logits ``(B, K, S, S)``."""
    return _cross_entropy(logits, target, logits.new_ones(1)) + dice_loss(logits, target)


def foreground_share(masks: Tensor) -> Tensor:
    """Return the share of foreground pixels in a batch of masks, a scalar."""
    return _foreground(masks).sum(1).mean()


def reconstruction_loss(logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the mask VAE's loss: foreground-weighted cross-entropy + soft Dice.

    The weight of the foreground is the square root of background over foreground in the
    whole batch, whose foreground has the share `share` of the pixels, so that small
    structures are not sacrificed to the background.
    """
    share = share.clamp(1e-4, 1.0)
    weight = ((1 - share) / share).sqrt().clamp(1.0, MAX_FOREGROUND_WEIGHT)
    return _cross_entropy(logits, target, weight.reshape(1)) + dice_loss(logits, target)


def soft_dice_score(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean Dice of thresholded logits, for progress lines."""
    p = _foreground(hard_masks(probabilities(logits))).flatten(2)
    s = _foreground(target).flatten(2)
    return ((2 * (p * s).sum(2) + 1e-6) / (p.sum(2) + s.sum(2) + 1e-6)).mean()
