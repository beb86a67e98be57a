"""Decode files with Pillow."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.untrusted import read_start
from latentfm_core.images.channels import COLOURS, chosen_colour
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.limits import open_pillow
from latentfm_core.names import shown

logger = logging.getLogger(__name__)

_FEW_BITS = {"L;2": 3, "L;4": 15}
"""Highest values of grey levels that Pillow spreads over 0 to 255."""
_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "WEBP")


def decode_pillow(path: Path, limits: ReadingConfig) -> Decoded:
    """Read the first image of a file and apply its EXIF orientation."""
    with open_pillow(path, limits) as opened:
        _check_bmp(path, opened)
        _check_gif(path, opened)
        # Pillow halves the depth of 16-bit colour PNGs; their range is not known yet.
        raw_modes = [str(tile[3]) for tile in getattr(opened, "tile", [])]
        halved = any(mode in {"RGB;16B", "RGBA;16B", "LA;16B"} for mode in raw_modes)
        highest = _highest(opened, raw_modes)
        full = 65535 if opened.mode == "I" else 255
        opened.load()
        transparent = _transparent_grey(opened)
        frames = getattr(opened, "n_frames", 1)
        if opened.format == "MPO":  # whose other frames are previews
            frames = 1
        if frames > 1:
            logger.warning("%s: %d images in one file; reading the first", shown(path), frames)
        turn = opened.getexif().get(274, 1)
        image = ImageOps.exif_transpose(opened) or opened
        indices = np.asarray(image) if image.mode == "P" else None
        palette = None if indices is None else _pillow_palette(image)
        lossy = opened.format in _LOSSY_FORMATS
        pixels = np.array(_converted(path, image))
    if halved:
        logger.info("%s: 16-bit colour PNG, read at 8 bits per channel", shown(path))
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if pixels.ndim == 3 and pixels.shape[2] >= COLOURS:
        pixels = chosen_colour(shown(path), pixels, limits.channel)
    turn = turn if turn in range(1, 9) else 1
    return Decoded(
        pixels,
        indices,
        palette,
        orientation=turn,
        lossy=lossy,
        transparent=transparent,
        stored_max=highest if highest is not None and 1 < highest < full else None,
        reduced=halved or (highest is not None and highest > full),
        frames=frames,
    )


def _highest(opened: Image.Image, raw_modes: list[str]) -> int | None:
    """Return the highest value of a file's own scale that Pillow stretches to 255 or 65535."""
    tiles = getattr(opened, "tile", None)
    if opened.format != "PPM" or not tiles:
        return next((_FEW_BITS[raw] for raw in raw_modes if raw in _FEW_BITS), None)
    arguments = tiles[0][3]
    highest = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else None
    return highest if isinstance(highest, int) else None


def _converted(path: Path, image: Image.Image) -> Image.Image:
    """Return an image as grey or RGB, with or without alpha; raise `ImageError` for L*a*b*."""
    if image.mode == "LAB":
        raise ImageError(
            f"{shown(path)}: L*a*b* colours are not supported. Save it as RGB or grey."
        )
    if image.mode in {"P", "PA"}:
        has_alpha = image.mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if has_alpha else "RGB")
    if image.mode in {"1", "L", "LA", "RGB", "RGBA", "I", "F"} or image.mode.startswith("I;16"):
        return image
    return image.convert("RGB")


def _transparent_grey(opened: Image.Image) -> int | None:
    """Return the grey level of the file that is transparent without an alpha channel."""
    value = opened.info.get("transparency")
    if opened.mode == "RGB" and isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return None if opened.mode == "P" or not isinstance(value, int) else value


def _check_bmp(path: Path, opened: Image.Image) -> None:
    """Raise `ImageError` for a BMP whose depth Pillow misreads, which would give wrong pixels.

    This happens when a grey colour table has fewer entries than its depth has values.
    """
    if opened.format != "BMP" or opened.mode not in {"1", "L"}:
        return
    header = read_start(path, 30)
    bits = int.from_bytes(header[28:30], "little")
    if bits != {"1": 1, "L": 8}[opened.mode]:
        raise ImageError(
            f"{shown(path)}: {bits}-bit BMP with a reduced grey colour table cannot be read. "
            "Save it as PNG."
        )


def _check_gif(path: Path, opened: Image.Image) -> None:
    """Raise `ImageError` for a GIF that leaves part of its area open, which Pillow fills.

    It takes the first colour of the table, which may be that of the foreground.
    """
    tile = getattr(opened, "tile", None) if opened.format == "GIF" else None
    if tile and tile[0][1] != (0, 0, *opened.size):
        raise ImageError(
            f"{shown(path)}: the picture covers only a part of the area of this GIF, so the rest "
            "is unclear. Save it as PNG."
        )


def _pillow_palette(image: Image.Image) -> NDArray[np.uint8]:
    """Return the RGBA colours ``(256, 4)`` of an image in mode P."""
    every = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    every.putpalette(image.getpalette("RGB") or [], "RGB")
    if "transparency" in image.info:
        every.info["transparency"] = image.info["transparency"]
    colours: NDArray[np.uint8] = np.asarray(every.convert("RGBA"), np.uint8)[0]
    return colours
