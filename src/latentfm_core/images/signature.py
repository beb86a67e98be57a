"""Content hash that identifies an image regardless of file name and location."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from latentfm_core.errors import ImageError

WHOLE_BYTES = 2**28
"""Up to this size (256 MiB) all pixels are hashed, above it only `BLOCKS` blocks."""
BLOCKS = 64
BLOCK_PIXELS = 2**16
BLOCK_SIDE = 256
SLAB_BYTES = 2**24
DIGEST_BYTES = 16


def image_signature(pixels: Any) -> str:
    """Return a hash of shape, dtype and pixels of an image: 32 hexadecimal digits.

    It is BLAKE2b (RFC 7693) of 128 bits. Up to 256 MiB all pixels are hashed, slab by slab,
    so that a lazy array is never entirely in memory. Of a larger image 64 blocks of at most
    65,536 pixels are read, spread evenly by an additive recurrence with irrational steps (a
    Kronecker sequence), the corners at both ends among them; a change elsewhere in it goes
    unnoticed. An image in memory and the same image as a lazy array have the same signature.

    Parameters
    ----------
    pixels
        Array of any real dtype: NumPy, dask, zarr or anything else that has shape and dtype
        and returns a NumPy array for a tuple of slices.

    Raises
    ------
    ImageError
        If a part of a lazy array cannot be loaded.
    """
    dtype = np.dtype(pixels.dtype).newbyteorder("<")
    shape = tuple(int(length) for length in pixels.shape)
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    state.update(f"{shape} {dtype.str}".encode())
    size = math.prod(shape) * dtype.itemsize
    parts = _slabs(shape, dtype.itemsize) if size <= WHOLE_BYTES else _blocks(shape)
    try:
        for index in parts:
            part = np.asarray(pixels[index]).astype(dtype, copy=False)
            state.update(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
    except Exception as error:
        # Lazy arrays raise any exception of the library behind them.
        raise ImageError(
            f"The image cannot be read ({type(error).__name__}: {error}). Open it again."
        ) from error
    return state.hexdigest()


def _slabs(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[slice, ...]]:
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:]) * itemsize
    step = max(1, SLAB_BYTES // max(1, row))
    for start in range(0, shape[0], step):
        yield (slice(start, start + step),)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    sides: list[int] = []
    left = BLOCK_PIXELS
    for length in reversed(shape):
        side = max(1, min(length, BLOCK_SIDE, left))
        sides.insert(0, side)
        left //= side
    steps = [math.sqrt(prime) % 1 for prime in (2, 3, 5, 7, 11, 13, 17, 19)]
    for block in range(BLOCKS):
        index = []
        for axis, (length, side) in enumerate(zip(shape, sides, strict=True)):
            place = (block * steps[axis % len(steps)]) % 1 if block < BLOCKS - 1 else 1.0
            start = round(place * (length - side))
            index.append(slice(start, start + side))
        yield tuple(index)
