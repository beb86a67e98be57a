"""Codecs of TIFF that tifffile lacks without the package imagecodecs: LZW and Zstandard.

Pillow has them, but reads only the first page, and colours of 16 bits as 8 bits. The libtiff in
Pillow therefore unpacks single strips and tiles, and tifffile interprets them.
"""

from __future__ import annotations

import io
import struct
from functools import partial
from importlib.util import find_spec
from typing import Any

import tifffile

from latentfm_core.images.limits import open_unlimited

ADDED = frozenset({5, 34926, 50000})
"""Values of the tag Compression: LZW, and two of Zstandard."""
_LIBTIFF = {34926: 50000}
"""The value that libtiff knows, if it differs."""
_SHORT, _LONG = 3, 4


def add_codecs() -> None:
    """Give tifffile the codecs of `ADDED`, unless imagecodecs has them."""
    if find_spec("imagecodecs") is None:
        known: Any = tifffile.TIFF.DECOMPRESSORS
        getattr(known, "_codecs", {}).update({code: partial(_unpacked, code) for code in ADDED})


def is_packed(page: Any) -> bool:
    """Return whether a page has less than a byte per value, compressed by a codec of `ADDED`.

    tifffile does not know the length of its parts; Pillow reads it.
    """
    bits = page.bitspersample
    return int(page.compression) in ADDED and not (isinstance(bits, int) and bits % 8 == 0)


def _unpacked(code: int, data: bytes, *, out: int) -> bytes:
    """Return the first `out` bytes of a strip or tile, read as one row of grey levels.

    Raises
    ------
    ValueError
        If it is damaged, or Pillow was built without the codec.
    """
    tags = {
        256: (_LONG, out),  # ImageWidth
        257: (_LONG, 1),  # ImageLength
        258: (_SHORT, 8),  # BitsPerSample
        259: (_SHORT, _LIBTIFF.get(code, code)),  # Compression
        262: (_SHORT, 1),  # PhotometricInterpretation
        273: (_LONG, 0),  # StripOffsets
        277: (_SHORT, 1),  # SamplesPerPixel
        278: (_LONG, 1),  # RowsPerStrip
        279: (_LONG, len(data)),  # StripByteCounts
    }
    start = 8 + 2 + 12 * len(tags) + 4
    tags[273] = (_LONG, start)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    head += b"".join(struct.pack("<HHII", tag, kind, 1, n) for tag, (kind, n) in tags.items())
    try:
        with open_unlimited(io.BytesIO(head + bytes(4) + data), ("TIFF",)) as opened:
            return opened.tobytes()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"damaged, or needs the package imagecodecs: {error}") from error


add_codecs()
