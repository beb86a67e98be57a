"""Image features pooled into one vector, for comparison with the training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latentfm_core.types import Float32


def pooled_features(
    features: Sequence[Tensor], box: tuple[int, int, int, int], size: int
) -> Float32:
    """Return the mean of each channel over the content of a canvas.

    Parameters
    ----------
    features
        Maps ``(1, C, h, w)`` of one canvas at several strides.
    box
        ``(top, left, height, width)`` of the content in pixels of the canvas, without the
        padding.
    size
        Side of the canvas.

    Returns
    -------
    Float32
        ``(D,)``, the channels of all maps.
    """
    top, left, height, width = box
    means = []
    for level in features:
        side = level.shape[-1]
        rows = _cells(top, height, size / side, side)
        columns = _cells(left, width, size / side, side)
        means.append(level[0, :, rows, columns].float().mean(dim=(1, 2)))
    vector: Float32 = torch.cat(means).cpu().numpy()
    return vector


def _cells(start: int, length: int, stride: float, count: int) -> slice:
    """Return the cells mostly inside the content, at least one."""
    first = min(round(start / stride), count - 1)
    return slice(first, max(round((start + length) / stride), first + 1))
