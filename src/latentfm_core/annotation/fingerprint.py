"""Content hashes that identify an image or labels regardless of file name and location."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.signature import DIGEST_BYTES, image_signature

__all__ = ["compact", "image_signature", "labels_digest"]


def labels_digest(labels: NDArray[Any]) -> str:
    """Return a hash of the shape and values of labels; the integer type does not matter."""
    values = compact(labels)
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    state.update(f"{values.shape} {values.dtype.str}".encode())
    state.update(values.data.cast("B") if values.size else b"")
    return state.hexdigest()


def compact(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as the smallest of uint8, uint16 and uint32 that holds them, C-contiguous.

    Raises
    ------
    ImageError
        If they are not integers from 0 to 2**32 - 1.
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "bui":
        raise ImageError(f"Labels must be integers, not {values.dtype}. Convert them first.")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in (np.uint8, np.uint16, np.uint32):
        if low >= 0 and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("="))
    raise ImageError(f"Labels from {low} to {high} cannot be stored; use 0 to {2**32 - 1}.")
