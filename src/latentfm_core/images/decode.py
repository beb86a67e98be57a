"""Decode files to arrays with tifffile (TIFF) or Pillow (all other formats).

Pillow is called directly, rather than through `skimage.io.imread`, which ignores the EXIF
orientation and changes a ``(4, W, 2)`` array.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.untrusted import read_start
from latentfm_core.images.channels import COLOURS, Channels, channels_of, used_channels
from latentfm_core.images.decode_errors import decoding
from latentfm_core.images.limits import open_pillow
from latentfm_core.images.tiff import (
    LOSSY,
    as_stored,
    check_series,
    lacks_codec,
    open_tiff,
    other_colours,
)
from latentfm_core.names import shown

logger = logging.getLogger(__name__)

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
MAX_CHANNELS = 4

_UNITS = {
    "nm": "nanometer",
    "nanometer": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometer": "micrometer",
    "mm": "millimeter",
    "millimeter": "millimeter",
    "cm": "centimeter",
    "centimeter": "centimeter",
    "m": "meter",
    "in": "inch",
    "meter": "meter",
    "inch": "inch",
}
_PER_INCH = {"inch": 1.0, "centimeter": 2.54, "millimeter": 25.4, "micrometer": 25400.0}
_SCREEN_DENSITIES = (72.0, 96.0)
"""Screen densities in pixels per inch, in any unit."""
_NO_DENSITY = 1.0
_ROUNDED = 0.6
"""Tolerance for these densities: 28.3 or 28.35 per centimetre is 72 per inch."""


@dataclass(frozen=True)
class Decoded:
    """Decoded content of a file.

    Attributes
    ----------
    pixels
        ``(H, W)``, or ``(H, W, C)`` of red, green and blue or with alpha as the last channel;
        native byte order, a palette applied.
    indices
        ``(H, W)`` palette indices when the file has a palette, else None.
    palette
        ``(K, 3)`` or ``(K, 4)`` (with alpha) uint8, the colour of each index; None without one.
    spacing, unit
        Pixel size ``(row, column)``, or None if unknown.
    orientation
        EXIF or TIFF orientation, 1 to 8, already applied to `pixels`.
    lossy
        Whether the compression changes values (JPEG and the like).
    """

    pixels: NDArray[Any]
    indices: NDArray[Any] | None = None
    palette: NDArray[np.uint8] | None = None
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"
    orientation: int = 1
    lossy: bool = False


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
    with decoding(shown(path), "an image", "Replace or remove the file"):
        named_tiff = path.suffix.lower() in TIFF_SUFFIXES
        decoded = _decode_tiff(path, limits) if named_tiff else None
        decoded = decoded or _decode_pillow(path, limits)
    pixels = decoded.pixels
    return replace(decoded, pixels=pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def check_is_file(path: Path) -> None:
    """Reject a path that is not a file.

    Raises
    ------
    ImageError
        If it is missing, a broken link, or not readable.
    """
    try:
        if path.is_file():
            return
        if path.is_symlink():
            raise ImageError(
                f"{shown(path)}: a broken link to {shown(os.readlink(path))}. "
                "Fetch the file (git annex get, datalad get, dvc pull), or remove the link."
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(path)}: cannot be opened: {reason}. Check the path.") from None
    raise ImageError(f"{shown(path)}: no such file. Check the path.")


_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "WEBP")


def _decode_pillow(path: Path, limits: ReadingConfig) -> Decoded:
    with open_pillow(path, limits) as opened:
        _check_bmp(path, opened)
        # Pillow halves the depth of 16-bit colour PNGs; their range is not known yet.
        raw_modes = [str(tile[3]) for tile in getattr(opened, "tile", [])]
        halved = any(mode in {"RGB;16B", "RGBA;16B", "LA;16B"} for mode in raw_modes)
        opened.load()
        frames = getattr(opened, "n_frames", 1)
        if frames > 1 and opened.format != "MPO":  # whose other frames are previews
            logger.warning("%s: %d images in one file; reading the first", shown(path), frames)
        turn = opened.getexif().get(274, 1)
        image = ImageOps.exif_transpose(opened) or opened
        indices = np.asarray(image) if image.mode == "P" else None
        palette = None if indices is None else _pillow_palette(image)
        lossy = opened.format in _LOSSY_FORMATS
        if image.mode == "LAB":
            raise ImageError(
                f"{shown(path)}: L*a*b* colours are not supported. Save it as RGB or grey."
            )
        if image.mode in {"P", "PA"}:
            transparent = image.mode == "PA" or "transparency" in image.info
            image = image.convert("RGBA" if transparent else "RGB")
        elif image.mode not in {"1", "L", "LA", "RGB", "RGBA", "I", "F"} and (
            not image.mode.startswith("I;16")
        ):
            image = image.convert("RGB")
        pixels = np.array(image)
    if halved:
        logger.info("%s: 16-bit colour PNG, read at 8 bits per channel", shown(path))
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if limits.channel is not None and pixels.ndim == 3 and pixels.shape[2] >= COLOURS:
        chosen = Channels(COLOURS, "colours")
        pixels = used_channels(shown(path), pixels[..., :COLOURS], chosen, limits.channel)
        indices = palette = None
    turn = turn if turn in range(1, 9) else 1
    return Decoded(pixels, indices, palette, orientation=turn, lossy=lossy)


def _check_bmp(path: Path, opened: Image.Image) -> None:
    """Reject a BMP whose depth Pillow misreads, which would give wrong pixels.

    This happens when a grey colour table has fewer entries than its depth has values.

    Raises
    ------
    ImageError
        If the depth would be misread.
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


def _pillow_palette(image: Image.Image) -> NDArray[np.uint8]:
    """Return the RGBA colours ``(256, 4)`` of an image in mode P."""
    every = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    every.putpalette(image.getpalette("RGB") or [], "RGB")
    if "transparency" in image.info:
        every.info["transparency"] = image.info["transparency"]
    colours: NDArray[np.uint8] = np.asarray(every.convert("RGBA"), np.uint8)[0]
    return colours


def _decode_tiff(path: Path, limits: ReadingConfig) -> Decoded | None:
    """Read with tifffile; return None if Pillow must read it.

    Values are returned as stored even if 0 means white: tifffile writes every boolean array
    that way, and napari shows the stored values.
    """
    try:
        with open_tiff(path) as tiff:
            return _decode_series(path, tiff, limits)
    except tifffile.TiffFileError:
        return None  # another format with this suffix, or not an image


def _decode_series(path: Path, tiff: tifffile.TiffFile, limits: ReadingConfig) -> Decoded:
    series = tiff.series[0]
    if sum(other.shape == series.shape for other in tiff.series) > 1:
        raise ImageError(_stack_message(path, (len(tiff.series), *series.shape), "pages"))
    others = [other for other in tiff.series[1:] if not _is_thumbnail(other)]
    if others:
        logger.warning(
            "%s: %d images of different sizes in one file; reading the first",
            shown(path),
            1 + len(others),
        )
    check_series(str(path), series, limits, plane=True)
    page = series.keyframe
    turn = int(page.tags.valueof(274, 1) or 1)
    lossy = int(page.compression) in LOSSY
    spacing = spacing_of(tiff)
    if turn > 4 and spacing.get("spacing"):
        spacing["spacing"] = spacing["spacing"][::-1]
    values = _stored_values(series)
    if values is None:
        if not other_colours(page):
            _one_plane(path, np.broadcast_to(False, series.shape), series, limits)
        image = _decode_pillow(path, limits)
        return replace(image, pixels=as_stored(page, image.pixels), lossy=lossy, **spacing)
    pixels = orient(_one_plane(path, values, series, limits), turn)
    indices = palette = None
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        indices, palette = pixels, tiff_palette(page)
        pixels = palette[indices]
    turn = turn if 1 <= turn <= 8 else 1
    return Decoded(pixels, indices, palette, orientation=turn, lossy=lossy, **spacing)


def tiff_palette(page: Any) -> NDArray[np.uint8]:
    """Return the colours ``(K, 3)`` of a TIFF page with a palette.

    The 16-bit entries of TIFF colour tables represent 8-bit colours.
    """
    table = np.moveaxis(np.asarray(page.colormap), 0, -1)
    colours: NDArray[np.uint8] = (table >> 8).astype(np.uint8)
    return colours


def _is_thumbnail(series: tifffile.TiffPageSeries) -> bool:
    """Return whether a series is a smaller copy or a mask of another one (NewSubfileType)."""
    page: Any = series.keyframe
    return bool(int(page.tags.valueof(254, 0) or 0) or int(page.tags.valueof(255, 1) or 1) != 1)


def _stored_values(series: tifffile.TiffPageSeries) -> NDArray[Any] | None:
    """Return pixels read by tifffile; None if only Pillow has the codec or colour conversion."""
    if other_colours(series.keyframe):
        return None
    try:
        values: NDArray[Any] = series.asarray()
    except (ValueError, ImportError) as error:
        if not lacks_codec(error):
            raise
        return None  # LZW, JPEG, ...
    return values


def _stack_message(path: Path, shape: tuple[int, ...], axes: str) -> str:
    named = "" if set(axes) <= set("TZCYXS") or axes == "pages" else ", of unknown meaning"
    return (
        f"{shown(path)}: a stack of planes (shape {' x '.join(map(str, shape))}, axes "
        f"{axes}{named}). Save one 2D plane, or, if these are channels, save them as RGB or with "
        "the axis C; or segment all planes with latentfm-predict --stack."
    )


def _one_plane(
    path: Path, values: NDArray[Any], series: tifffile.TiffPageSeries, limits: ReadingConfig
) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)``; a leading channel axis moves to the end.

    Based on the file's axis labels; an axis of unknown meaning (``Q``, ``I``) is a stack.
    """
    axes = series.axes
    keep = [size > 1 or label in "YX" for size, label in zip(values.shape, axes, strict=True)]
    labels = "".join(label for label, kept in zip(axes, keep, strict=True) if kept)
    shape = tuple(size for size, kept in zip(values.shape, keep, strict=True) if kept)
    plane = values.reshape(shape)
    if labels == "YX":
        return plane
    position = next((i for i, label in enumerate(labels) if label in "SC"), None)
    if len(shape) != 3 or position is None:
        raise ImageError(_stack_message(path, values.shape, axes))
    channels = channels_of(series.keyframe, labels[position], shape[position])
    moved = np.moveaxis(plane, position, -1)
    return used_channels(shown(path), moved, channels, limits.channel)


def orient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)`` with a TIFF or EXIF orientation (1 to 8) applied."""
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(pixels, flips) if flips else pixels


def unorient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `orient`; only 6 and 8 are not their own inverse."""
    return orient(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def spacing_of(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """Return spacing and unit from OME, ImageJ or plain resolution tags, in that order."""
    try:
        resolution = _ome_spacing(tiff) if tiff.is_ome else _tag_spacing(tiff)
    except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError) as error:
        logger.info("%s: unreadable resolution metadata (%s)", shown(tiff.filename), error)
        return {}
    if resolution is None or not all(math.isfinite(size) and size > 0 for size in resolution[:2]):
        return {}
    unit = _UNITS.get(resolution[2].strip().lower())
    if unit is None or _is_screen(resolution[:2], unit):
        return {}
    return {"spacing": resolution[:2], "unit": unit}


def _is_screen(size: tuple[float, float], unit: str) -> bool:
    """Return whether a pixel size is only a screen density.

    Converters copy such densities into other units and other metadata.
    """
    if unit not in _PER_INCH:
        return False
    rows, columns = (_PER_INCH[unit] / each for each in size)
    nominal = [density for density in _SCREEN_DENSITIES if abs(rows - density) < _ROUNDED]
    return bool(nominal) and abs(rows - columns) < _ROUNDED


def _ome_spacing(tiff: tifffile.TiffFile) -> tuple[float, float, str] | None:
    image = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    if "PhysicalSizeX" not in pixels or "PhysicalSizeY" not in pixels:
        return None
    unit = str(pixels.get("PhysicalSizeXUnit", "µm"))
    if unit != str(pixels.get("PhysicalSizeYUnit", "µm")):
        return None
    return float(pixels["PhysicalSizeY"]), float(pixels["PhysicalSizeX"]), unit


def _tag_spacing(tiff: tifffile.TiffFile) -> tuple[float, float, str] | None:
    """Return the inverse of pixels per unit; one pixel per unit means unknown."""
    tags = tiff.pages.first.tags
    densities = [tags.valueof(code) for code in (283, 282)]  # YResolution, XResolution
    if None in densities:
        return None
    rows, columns = (top / bottom for top, bottom in densities)
    imagej_unit = (tiff.imagej_metadata or {}).get("unit")
    if imagej_unit:
        return 1 / rows, 1 / columns, str(imagej_unit)
    code = int(tags.valueof(296, 2))
    if rows == columns == _NO_DENSITY:
        return None
    if code == 2:
        return 25400 / rows, 25400 / columns, "um"
    if code == 3:
        return 10000 / rows, 10000 / columns, "um"
    return None
