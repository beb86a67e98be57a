"""Training images and labels at a lower resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def reduced_shape(shape: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return rows and columns of an image whose longer side is at most `longest`."""
    scale = longest / max(shape)
    if scale >= 1:
        return shape
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def reduced_image(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return ``(H, W, 3)`` at another size, smoothed against aliasing."""
    values = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
    small = F.interpolate(values, shape, mode="bilinear", antialias=True)[0]
    out: NDArray[np.uint8] = small.clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(out)


def reduced_labels(labels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return labels ``(M, H, W)`` at another size: of each pixel, those at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(shape, labels.shape[1:], strict=True)
    )
    return np.ascontiguousarray(labels[:, rows[:, None], columns])
