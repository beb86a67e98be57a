"""Cache of image features, so that a new prompt does not encode the image again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

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
