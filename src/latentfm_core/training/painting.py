"""Augmentation with images painted from their mask: a plain object on a plain background."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.training.global_batch import GlobalBatch

PAINTED = 0.1
"""Share of the images that are painted."""

CONTRAST = 0.12, 0.7
"""Range of the difference in brightness between object and background."""

NOISE = 0.06
"""Largest standard deviation of the noise."""

SHARPEST = 0.5
"""Share of the painted images with a sharp edge; that of the others is blurred."""


def paint_some(images: Tensor, masks: Tensor, global_batch: GlobalBatch) -> Tensor:
    """Replace some images by plain drawings of their mask, in place, and return them.

    Photographs of one kind have backgrounds of one kind. A model that is trained on nothing else
    may miss an obvious object on an even background.

    Parameters
    ----------
    images
        ``(B, 3, S, S)`` float in [0, 1].
    masks
        ``(B, 1, S, S)`` float in {0, 1}. Images with an empty or full mask are unchanged.
    """
    chosen = global_batch.uniform(0, 1) < PAINTED
    ground = global_batch.uniform(0.15, 0.9, 1, 1, 1)
    tints = global_batch.uniform(-0.1, 0.1, 2, 3, 1, 1)
    contrast = global_batch.uniform(*CONTRAST, 1, 1, 1)
    darker = global_batch.uniform(0, 1, 1, 1, 1) < ground
    blurred = global_batch.uniform(0, 1, 1, 1, 1) >= SHARPEST
    level = global_batch.uniform(0, NOISE, 1, 1, 1)
    noise = global_batch.normal(*images.shape[1:])
    covered = masks.flatten(1).mean(dim=1).cpu()
    rows = (chosen & (covered > 0) & (covered < 1)).nonzero()[:, 0]
    if not len(rows):
        return images
    shape = masks[rows.to(masks.device)].float().cpu()
    soft = F.avg_pool2d(F.pad(shape, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    shape = torch.where(blurred[rows], soft, shape)
    step = torch.where(darker[rows], -contrast[rows], contrast[rows])
    behind = ground[rows] + tints[rows, 0]
    drawn = torch.lerp(behind, behind + step + tints[rows, 1], shape)
    drawn = (drawn + level[rows] * noise[rows]).clamp_(0, 1)
    images[rows.to(images.device)] = drawn.to(images)
    return images
