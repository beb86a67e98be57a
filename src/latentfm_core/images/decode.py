"""Files to arrays: tifffile for TIFF, Pillow for every other format.

Pillow is what scikit-image itself reads these formats with. It is called directly because
`skimage.io.imread` neither turns a picture as its EXIF orientation says nor leaves a
``(4, W, 2)`` array alone.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ImageOps

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.decode_errors import decoding
from latentfm_core.images.limits import open_pillow
from latentfm_core.images.tiff import (
    as_stored,
    check_series,
    lacks_codec,
    open_tiff,
    other_colours,
)

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
_SCREEN_DENSITIES = (1.0, 72.0, 96.0)


@dataclass(frozen=True)
class Decoded:
    """What a file holds.

    Attributes
    ----------
    pixels
        ``(H, W)`` or ``(H, W, C)``, C in 1..4, native byte order, a palette applied.
    indices
        ``(H, W)`` palette indices when the file has a palette, else None.
    spacing, unit
        Pixel size ``(row, column)``, or None when the file does not tell.
    """

    pixels: NDArray[Any]
    indices: NDArray[Any] | None = None
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"


def decode(path: Path, limits: ReadingConfig = READING) -> Decoded:
    """Read one plane from a file, turned as its EXIF or TIFF orientation tag says.

    Of an animation (GIF, APNG, WebP) the first frame is read.

    Raises
    ------
    ImageError
        If the file is missing, in no known format, truncated, larger than `limits` allow
        (told by its header, before anything is decoded), or a stack of planes.
    ResourceError
        If the memory does not suffice.
    """
    if not path.is_file():
        raise ImageError(f"{path}: there is no such file. Check the path.")
    with decoding(str(path), "an image", "Replace the file or take it away"):
        named_tiff = path.suffix.lower() in TIFF_SUFFIXES
        decoded = _decode_tiff(path, limits) if named_tiff else None
        decoded = decoded or _decode_pillow(path, limits)
    pixels = decoded.pixels
    return replace(decoded, pixels=pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def _decode_pillow(path: Path, limits: ReadingConfig) -> Decoded:
    with open_pillow(path, limits) as opened:
        # Pillow halves the depth of 16-bit colour PNGs; their range is still to be found.
        raw_modes = [str(tile[3]) for tile in getattr(opened, "tile", [])]
        halved = any(mode in {"RGB;16B", "RGBA;16B", "LA;16B"} for mode in raw_modes)
        opened.load()
        image = ImageOps.exif_transpose(opened) or opened
        indices = np.asarray(image) if image.mode == "P" else None
        if image.mode == "LAB":
            raise ImageError(f"{path}: its colours are L*a*b*. Save it as RGB or grey.")
        if image.mode in {"P", "PA"}:
            transparent = image.mode == "PA" or "transparency" in image.info
            image = image.convert("RGBA" if transparent else "RGB")
        elif image.mode not in {"1", "L", "LA", "RGB", "RGBA", "I", "F"} and (
            not image.mode.startswith("I;16")
        ):
            image = image.convert("RGB")
        pixels = np.array(image)
    if halved:
        logger.info("%s: 16-bit colour PNG, read at 8 bits per channel", path)
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    return Decoded(pixels, indices)


def _decode_tiff(path: Path, limits: ReadingConfig) -> Decoded | None:
    """Read with tifffile; None when Pillow has to do it.

    Values come as they are stored even if the file says that 0 is white: tifffile writes so
    for every boolean array, and napari shows them so.
    """
    try:
        with open_tiff(path) as tiff:
            return _decode_series(path, tiff, limits)
    except tifffile.TiffFileError:
        return None  # some other format with this suffix, or no image at all


def _decode_series(path: Path, tiff: tifffile.TiffFile, limits: ReadingConfig) -> Decoded:
    series = tiff.series[0]
    if sum(other.shape == series.shape for other in tiff.series) > 1:
        raise ImageError(_stack_message(path, (len(tiff.series), *series.shape), "pages"))
    check_series(str(path), series, limits, plane=True)
    page = series.keyframe
    turn = int(page.tags.valueof(274, 1) or 1)
    spacing = spacing_of(tiff)
    if turn > 4 and spacing.get("spacing"):
        spacing["spacing"] = spacing["spacing"][::-1]
    values = _stored_values(series)
    if values is None:
        _one_plane(path, np.broadcast_to(False, series.shape), series.axes)
        found = _decode_pillow(path, limits)
        return replace(found, pixels=as_stored(page, found.pixels), **spacing)
    pixels = _orient(_one_plane(path, values, series.axes), turn)
    indices = None
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        indices = pixels
        table = np.moveaxis(np.asarray(page.colormap), 0, -1)
        # TIFF colour tables have 16 bits; what they mean is an 8-bit colour.
        pixels = (table[indices] >> 8).astype(np.uint8)
    return Decoded(pixels, indices, **spacing)


def _stored_values(series: tifffile.TiffPageSeries) -> NDArray[Any] | None:
    """Return what tifffile reads; None where only Pillow has the codec, or knows the colours."""
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
    return (
        f"{path}: a stack of planes or more than {MAX_CHANNELS} channels (shape "
        f"{' x '.join(map(str, shape))}, axes {axes}). Save one 2D plane with 1 to "
        f"{MAX_CHANNELS} channels, or segment all planes with latentfm-predict --stack."
    )


def _one_plane(path: Path, values: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)``; a leading channel axis moves to the end.

    The file's own axis labels decide. Where the writer gave none (``Q``), the one axis
    with at most four entries holds the channels.
    """
    unknown = "Q" in axes
    keep = [
        size > 1 or (label in "YX" and not unknown)
        for size, label in zip(values.shape, axes, strict=True)
    ]
    labels = "".join(label for label, kept in zip(axes, keep, strict=True) if kept)
    shape = tuple(size for size, kept in zip(values.shape, keep, strict=True) if kept)
    plane = values.reshape(shape)
    if len(shape) == 2:
        return plane
    if len(shape) == 3 and unknown:
        if shape[-1] <= MAX_CHANNELS:
            return plane
        if shape[0] <= MAX_CHANNELS:
            return np.moveaxis(plane, 0, -1)
    elif len(shape) == 3:
        position = next((i for i, label in enumerate(labels) if label in "SC"), None)
        if position is not None and shape[position] <= MAX_CHANNELS:
            return np.moveaxis(plane, position, -1)
    raise ImageError(_stack_message(path, values.shape, axes))


def _orient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo a TIFF/EXIF orientation (tag 274, values 1 to 8)."""
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(pixels, flips) if flips else pixels


def spacing_of(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """Return spacing and unit from OME, ImageJ or plain resolution tags, in that order."""
    try:
        found = _ome_spacing(tiff) if tiff.is_ome else _tag_spacing(tiff)
    except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError) as error:
        logger.info("%s: unreadable resolution metadata (%s)", tiff.filename, error)
        return {}
    if found is None or not all(math.isfinite(size) and size > 0 for size in found[:2]):
        return {}
    unit = _UNITS.get(found[2].strip().lower())
    return {} if unit is None else {"spacing": found[:2], "unit": unit}


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
    """Pixels per unit, turned over; densities that only mean "some screen" are left out."""
    tags = tiff.pages.first.tags
    densities = [tags.valueof(code) for code in (283, 282)]  # YResolution, XResolution
    if None in densities:
        return None
    rows, columns = (top / bottom for top, bottom in densities)
    imagej_unit = (tiff.imagej_metadata or {}).get("unit")
    if imagej_unit:
        return 1 / rows, 1 / columns, str(imagej_unit)
    code = int(tags.valueof(296, 2))
    if code == 2 and not (rows == columns and rows in _SCREEN_DENSITIES):
        return 25400 / rows, 25400 / columns, "um"
    if code == 3:
        return 10000 / rows, 10000 / columns, "um"
    return None
