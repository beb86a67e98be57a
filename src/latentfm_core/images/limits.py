"""Size limits for untrusted files, checked in the header before decoding."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from latentfm_core.config import ReadingConfig
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.files.untrusted import BoundedReader
from latentfm_core.names import name_some, shown

_MEGA = 2**20
_PILLOW = threading.Lock()

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "TGA", "TIFF")
"""Formats that Pillow may open, regardless of the name; none that starts a program (EPS)."""


def check_pixels_of(name: str, rows: int, columns: int, limits: ReadingConfig) -> None:
    """Raise an `ImageError` that says how to raise the limit if a plane has too many pixels."""
    if rows * columns > limits.max_pixels:
        raise ImageError(
            f"{shown(name)}: {columns} x {rows} is {rows * columns / _MEGA:,.0f} megapixels, the "
            f"limit is {limits.max_megapixels:g}. Crop it; or, if you trust the source, raise "
            "the limit: --max-megapixels (data.reading.max_megapixels), or Largest image in the "
            "tab Folder."
        )


def check_bytes_of(name: str, nbytes: int, limits: ReadingConfig) -> None:
    """Raise an `ImageError` with how to raise the limit if a file is too large when decoded."""
    if nbytes > limits.max_bytes:
        raise ImageError(
            f"{shown(name)}: {nbytes / _MEGA:,.0f} megabytes when decoded, the limit is "
            f"{limits.max_bytes / _MEGA:,.0f}. Open a part of it; or, if you trust the source, "
            "raise the limit: --max-megabytes (data.reading.max_megabytes), or Largest image in "
            "the tab Folder."
        )


@contextmanager
def open_pillow(
    path: Path, limits: ReadingConfig, formats: tuple[str, ...] = PILLOW_FORMATS
) -> Iterator[Image.Image]:
    """Open a file with Pillow and check its size without decoding it.

    Raises
    ------
    ImageError
        If it is too large.
    """
    with BoundedReader(path) as stream, open_unlimited(stream, formats) as opened:
        check_pixels_of(str(path), opened.height, opened.width, limits)
        depth = 4 if opened.mode in {"I", "F"} else 2 if opened.mode.startswith("I;16") else 1
        channels = 4 if opened.mode in {"P", "PA"} else len(opened.getbands())
        check_bytes_of(str(path), math.prod((*opened.size, channels, depth)), limits)
        yield opened


def open_unlimited(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """Open an image with Pillow, whose own limit is global and cannot be raised for one file."""
    with _PILLOW:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(stream, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def reject_links_out(
    files: Iterable[Path], folder: Path, limits: ReadingConfig, what: str = "files"
) -> None:
    """Raise a `DatasetError` that names the symbolic links out of `folder`, if there are any."""
    if limits.follow_links:
        return
    root = folder.resolve()
    out = [file.name for file in files if file.is_symlink() and not _is_inside(file, root)]
    if out:
        raise DatasetError(
            f"{shown(folder)}: {len(out)} {what} are links to files outside the folder: "
            f"{name_some(out, 5)}. Copy the files there; or, if you made the links, accept "
            "them: --follow-links (data.reading.follow_links = true)."
        )


def _is_inside(file: Path, root: Path) -> bool:
    try:
        return file.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a cycle of links
        return False
