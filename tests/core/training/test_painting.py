"""Images painted from their mask."""

from __future__ import annotations

import torch
from torch import Tensor

from latentfm_core.training.batches import generator_for
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.painting import CONTRAST, PAINTED, paint_some

COUNT, SIDE = 200, 32


def batch() -> tuple[Tensor, Tensor]:
    """Return images of one value outside [0, 1], and masks of a square; every fifth is empty."""
    masks = torch.zeros(COUNT, 1, SIDE, SIDE)
    masks[:, :, 8:24, 8:24] = 1
    masks[::5] = 0
    return torch.full((COUNT, 3, SIDE, SIDE), -1.0), masks


def painted(rows: slice = slice(0, COUNT)) -> Tensor:
    """Return the images of a process that holds `rows`."""
    images, masks = batch()
    return paint_some(images[rows], masks[rows], GlobalBatch(generator_for(0), COUNT, rows))


def test_some_images_show_their_mask_and_the_others_are_unchanged() -> None:
    images = painted()
    changed = (images >= 0).flatten(1).all(dim=1)
    assert not changed[::5].any()
    assert (images[~changed] == -1).all()
    assert 0.4 * PAINTED < changed.float().mean() < 1.5 * PAINTED
    shown = images[changed]
    assert shown.max() <= 1
    brightness = shown.mean(dim=1)
    inside, outside = brightness[:, 10:22, 10:22], brightness[:, :6]
    difference = (inside.mean(dim=(1, 2)) - outside.mean(dim=(1, 2))).abs()
    # Tints and values that were clipped take some of it.
    assert (difference > CONTRAST[0] / 2).all()


def test_several_processes_paint_like_one() -> None:
    parts = torch.cat([painted(slice(0, 90)), painted(slice(90, COUNT))])
    torch.testing.assert_close(parts, painted())
