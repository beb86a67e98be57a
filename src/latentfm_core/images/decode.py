"""Decode files to arrays with tifffile (TIFF) or Pillow (all other formats).

Pillow is called directly, rather than through `skimage.io.imread`, which ignores the EXIF
orientation and changes a ``(4, W, 2)`` array.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.regular import other_kind
from latentfm_core.images.decode_errors import advice_about, decoding
from latentfm_core.images.decode_pillow import decode_pillow
from latentfm_core.images.decode_tiff import decode_tiff
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.tiff import is_tiff
from latentfm_core.names import shown

__all__ = ["MAX_CHANNELS", "check_is_file", "decode"]

MAX_CHANNELS = 4


def decode(path: Path, limits: ReadingConfig = READING) -> Decoded:
    """Read one plane from a file and apply its EXIF or TIFF orientation.

    For an animation (GIF, APNG, WebP), the first frame is read.

    Raises
    ------
    ImageError
        If the file is missing, in an unknown format, truncated, larger than `limits` allow
        (checked in its header, before decoding), or a stack of planes.
    ResourceError
        If there is not enough memory.
    """
    check_is_file(path)
    with decoding(shown(path), "an image", advice_about(path)):
        decoded = decode_tiff(path, limits) if is_tiff(path) else None
        decoded = decoded or decode_pillow(path, limits)
    pixels = decoded.pixels
    return replace(decoded, pixels=pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def check_is_file(path: Path) -> None:
    """Reject a path that is not a file.

    Raises
    ------
    ImageError
        If it is missing, a folder, pipe, socket or device, a broken link, or not readable.
    """
    try:
        if path.is_file():
            if os.access(path, os.R_OK):
                return
            raise ImageError(f"{shown(path)}: no permission to read it. Check its permissions.")
        kind = other_kind(path)
        if kind:
            raise ImageError(f"{shown(path)}: {kind}, not a file. Choose a file.")
        if path.is_symlink():
            raise ImageError(
                f"{shown(path)}: a broken link to {shown(os.readlink(path))}. "
                "Fetch the file (git annex get, datalad get, dvc pull), or remove the link."
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(path)}: cannot be opened: {reason}. Check the path.") from None
    raise ImageError(f"{shown(path)}: no such file. Check the path.")
