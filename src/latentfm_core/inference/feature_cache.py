"""Image features of the last canvases, so that a new prompt does not encode the image again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from latentfm_core.types import Float32

KEPT = 4
"""Canvases whose features are kept: a whole image and a few fields in it."""


class FeatureCache:
    """A small cache by content, least recently used first out. Safe between threads."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def get(self, canvas: Float32, encode: Callable[[Float32], list[Tensor]]) -> list[Tensor]:
        """Return the features of `canvas`; `encode` computes them if they are not kept."""
        key = hashlib.blake2b(canvas.tobytes(), digest_size=16).digest()
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        features = encode(canvas)
        with self._lock:
            self._entries[key] = features
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return features

    def clear(self) -> None:
        """Forget all features, and give their memory back."""
        with self._lock:
            self._entries.clear()
