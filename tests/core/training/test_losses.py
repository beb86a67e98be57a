"""Losses of the stages, and the average of the weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from latentfm_core.models.vae import DiagonalGaussian
from latentfm_core.training.ema import EMA
from latentfm_core.training.losses import (
    MAX_FOREGROUND_WEIGHT,
    dice_loss,
    foreground_share,
    mask_loss,
    reconstruction_loss,
    soft_dice_score,
)

SURE = 30.0


def half() -> torch.Tensor:
    """Return a mask of 8 x 8 pixels whose left half is foreground."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    return mask


def logits_of(mask: torch.Tensor) -> torch.Tensor:
    return SURE * (2 * mask - 1)


def test_dice_loss_of_known_masks() -> None:
    mask = half()
    assert float(dice_loss(logits_of(mask), mask)) == pytest.approx(0, abs=1e-6)
    # Nothing in common: 1 - 1 / (32 + 32 + 1), smoothed by one pixel.
    assert float(dice_loss(logits_of(1 - mask), mask)) == pytest.approx(1 - 1 / 65, abs=1e-6)
    empty = torch.zeros_like(mask)
    assert float(dice_loss(logits_of(empty), empty)) == pytest.approx(0, abs=1e-6)


def test_mask_loss_of_zero_logits() -> None:
    mask = half()
    # BCE log 2; Dice loss 1 - (2 * 16 + 1) / (32 + 32 + 1).
    expected = math.log(2) + 1 - 33 / 65
    assert float(mask_loss(torch.zeros_like(mask), mask)) == pytest.approx(expected, abs=1e-6)


def test_a_binary_mask_and_two_channels_have_the_same_cross_entropy() -> None:
    mask = half()
    logits = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    target = torch.cat([1 - mask, mask], dim=1)
    torch.testing.assert_close(mask_loss(logits, mask), mask_loss(both, target))


def test_small_foreground_weighs_more() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 0, 0] = 1
    missed = logits_of(torch.zeros_like(mask)) / SURE
    plain = mask_loss(missed, mask)
    weighted = reconstruction_loss(missed, mask, foreground_share(mask))
    each = float(nn.functional.softplus(torch.tensor(1.0))) / 64  # the loss of the missed pixel
    assert float(foreground_share(mask)) == pytest.approx(1 / 64)
    assert float(weighted - plain) == pytest.approx((math.sqrt(63) - 1) * each, rel=1e-4)
    most = reconstruction_loss(missed, mask, torch.tensor(0.0))
    assert float(most - plain) == pytest.approx((MAX_FOREGROUND_WEIGHT - 1) * each, rel=1e-4)


def test_soft_dice_score() -> None:
    mask = half()
    assert float(soft_dice_score(logits_of(mask), mask)) == pytest.approx(1)
    assert float(soft_dice_score(logits_of(1 - mask), mask)) == pytest.approx(0, abs=1e-6)


def test_kl_is_zero_only_for_the_standard_normal() -> None:
    zero = torch.zeros(1, 2, 3, 3)
    assert float(DiagonalGaussian(zero, zero).kl()) == 0
    assert float(DiagonalGaussian(zero + 1, zero).kl()) == pytest.approx(0.5)
    expected = 0.5 * (math.e - 1 - 1)
    assert float(DiagonalGaussian(zero, zero + 1).kl()) == pytest.approx(expected)


def test_ema_follows_the_weights_with_a_decay_warm_up() -> None:
    weight = nn.Parameter(torch.zeros(2))
    average = EMA([weight], decay=0.9)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(0)  # decay 1 / 10
    torch.testing.assert_close(average.shadow[0], torch.full((2,), 0.9))
    average.update(1_000_000)  # decay 0.9
    torch.testing.assert_close(average.shadow[0], torch.full((2,), 0.91))


def test_ema_weights_are_used_only_inside_the_block() -> None:
    weight = nn.Parameter(torch.zeros(2))
    average = EMA([weight], decay=0.9)
    with torch.no_grad():
        weight.fill_(1.0)
    with pytest.raises(ValueError, match="inside"), average.applied():
        assert not weight.any()
        raise ValueError("inside")
    assert bool((weight == 1).all())
    average.copy_to_model()
    assert not weight.any()
