"""Pictures that tests write."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.draw import disk


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def disc_image(shape: tuple[int, int] = (60, 80), radius: int = 16) -> np.ndarray:
    """Return a dark disc on a bright ground, ``(H, W, 3)`` uint8."""
    image = np.full((*shape, 3), (220, 180, 160), np.uint8)
    image[disk((shape[0] // 2, shape[1] // 2), radius, shape=shape)] = (110, 70, 50)
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def grey_stack(count: int = 3) -> np.ndarray:
    """Return a disc that grows from plane to plane, ``(Z, Y, X)`` uint8."""
    return np.stack([disc_image((48, 64), radius=10 + 3 * n)[..., 0] for n in range(count)])


def disc_mask(
    row: float, column: float, radius: float, shape: tuple[int, int] = (64, 80)
) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[disk((row, column), radius, shape=shape)] = True
    return mask


def write_png(
    path: Path, header: tuple[int, int, int, int, int], data: bytes, *more: tuple[bytes, bytes]
) -> Path:
    """Write a PNG of a kind that Pillow does not write.

    The header is width, height, bits, kind of colour and kind of interlacing; `data` the
    compressed rows; `more` are chunks before them.
    """
    *first, interlaced = header
    head = struct.pack(">IIBBBBB", *first, 0, 0, interlaced)
    chunks = (b"IHDR", head), *more, (b"IDAT", data), (b"IEND", b"")
    body = b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def write_png16(path: Path, pixels: np.ndarray) -> Path:
    """Write a 16-bit RGB PNG."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return write_png(path, (width, height, 16, 2, 0), zlib.compress(rows))
