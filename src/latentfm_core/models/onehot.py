"""Convert between class labels and the channels of the mask VAE."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def one_hot(labels: Tensor, channels: int) -> Tensor:
    """Turn class labels ``(B, S, S)`` into float masks ``(B, channels, S, S)``.

    With one channel every label except 0 is foreground.
    """
    if channels == 1:
        return (labels > 0).float()[:, None]
    return F.one_hot(labels.long(), channels).permute(0, 3, 1, 2).float()


def hard_masks(masks: Tensor) -> Tensor:
    """Make interpolated masks ``(B, K, S, S)`` hard again, one-hot if K > 1."""
    if masks.shape[1] == 1:
        return (masks >= 0.5).float()
    return one_hot(masks.argmax(dim=1), masks.shape[1])
