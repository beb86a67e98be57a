"""Image features: kept for further prompts, and pooled for a comparison with other images."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentfm_core.types import Float32

KEPT = 4
"""Canvases kept: a whole image and a few fields in it."""


class FeatureCache:
    """Least-recently-used cache keyed by content. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def get(self, canvas: Float32, encode: Callable[[Float32], list[Tensor]]) -> list[Tensor]:
        """Return the features of `canvas`; `encode` computes missing ones."""
        key = hashlib.blake2b(canvas.tobytes(), digest_size=16).digest()
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        features = encode(canvas)
        with self._lock:
            self._entries[key] = features
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
        return features


def pooled_features(
    features: Sequence[Tensor], box: tuple[int, int, int, int], size: int
) -> Float32:
    """Return the mean ``(D,)`` of each channel of all maps over the content of a canvas.

    Parameters
    ----------
    features
        Maps ``(1, C, h, w)`` of one canvas at several strides.
    box
        ``(top, left, height, width)`` of the content in pixels of the canvas, without the
        padding.
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
