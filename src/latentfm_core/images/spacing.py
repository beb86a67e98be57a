"""Pixel size of a TIFF file, from OME, ImageJ or plain resolution tags."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from latentfm_core.images.tiff import main_series, open_tiff
from latentfm_core.images.units import converted, length
from latentfm_core.names import shown

logger = logging.getLogger(__name__)

_PER_INCH = {"inch": 1.0, "centimeter": 2.54, "millimeter": 25.4, "micrometer": 25400.0}

_SCREEN_DENSITIES = (72, 96)
"""Screen densities in pixels per inch, in any unit."""

_PRINT_DENSITIES = (
    *(100, 120, 144, 150, 180, 192, 200, 220, 240, 250, 266, 300, 314, 350, 360, 400, 450, 500),
    *(600, 720, 800, 1000, 1200, 1440, 1600, 1800, 2000, 2400, 3000, 3200, 3600, 4000, 4800),
    *(6400, 7200, 9600),
)
"""Densities in pixels per inch of cameras, scanners, printers and image editors."""

_FINEST_PRINT = 10_000
"""Pixels per inch above those of any printer or scanner."""

_MICROSCOPES = {
    *("agilent", "andor", "bif", "eer", "fei", "fluoview", "indica", "lsm", "mediacy"),
    *("metaseries", "micromanager", "mmstack", "ndpi", "ndtiff", "nuvu", "philips", "qpi"),
    *("scanimage", "scn", "sem", "sis", "stk", "svs", "tvips", "vista"),
}
"""Files of microscopes and slide scanners, as named by tifffile."""

_LENS = {"FNumber", "FocalLength"}
"""EXIF entries of a photograph."""

_NO_DENSITY = 1.0

_ROUNDED = 1.3
"""Tolerance for these densities, which may be rounded to whole pixels per centimetre."""


@dataclass(frozen=True)
class AxisSteps:
    """The pixel size of a TIFF file along all axes of its first series, without colours.

    Attributes
    ----------
    shape
        Lengths of the axes.
    steps
        Sizes in `unit`; None for an axis that is not described.
    """

    shape: tuple[int, ...]
    steps: tuple[float | None, ...]
    unit: str


def read_steps(path: Path) -> AxisSteps | None:
    """Return the pixel size in a TIFF file; None if there is none, or it cannot be read.

    Only metadata are read.
    """
    try:
        with open_tiff(path) as tiff:
            found, series = spacing_of(tiff), main_series(tiff)
            if not found:
                return None
            sizes = {"Z": depth_of(tiff), **dict(zip("YX", found["spacing"], strict=True))}
            pairs = zip(series.axes, series.shape, strict=True)
            kept = {axis: int(length) for axis, length in pairs if axis != "S"}
    except Exception as error:  # parsers raise nearly any type; whoever opens the image reports it
        logger.info("%s: no pixel size (%s)", shown(str(path)), error)
        return None
    return AxisSteps(tuple(kept.values()), tuple(map(sizes.get, kept)), found["unit"])


def spacing_of(tiff: tifffile.TiffFile) -> dict[str, Any]:
    """Return spacing and unit from OME, ImageJ or plain resolution tags, in that order."""
    try:
        resolution = _ome_spacing(tiff) if tiff.is_ome else _tag_spacing(tiff)
    except (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError) as error:
        logger.info("%s: unreadable resolution metadata (%s)", shown(tiff.filename), error)
        return {}
    if resolution is None or not all(math.isfinite(size) and size > 0 for size in resolution[:2]):
        return {}
    size, unit = resolution[:2], resolution[2]
    if _is_density(size, unit, _SCREEN_DENSITIES) or _is_print_size(tiff, size, unit):
        return {}
    return {"spacing": size, "unit": unit}


def zarr_spacing(image: Mapping[str, Any], axes: str, level: int) -> dict[str, Any]:
    """Return spacing and unit of a level of a multiscale image; empty if they are unknown.

    Parameters
    ----------
    image
        The entry of ``multiscales`` in OME-NGFF (section "multiscales" of its specification).
    axes
        One letter for each axis.
    """
    try:
        scaled = [image["datasets"][level], image]
        steps = [each for one in scaled for each in one.get("coordinateTransformations", ())]
        factors = [each["scale"] for each in steps if each["type"] == "scale"]
        sizes = dict(zip(axes, np.prod(factors, axis=0).tolist(), strict=True))
        units = {letter: axis.get("unit") for letter, axis in zip(axes, image["axes"], strict=True)}
        (row, unit), (column, other) = (length(sizes[axis], units[axis]) for axis in "YX")
        spacing = (row, converted(column, other, unit))
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    valid = all(math.isfinite(size) and size > 0 for size in spacing)
    return {"spacing": spacing, "unit": unit} if valid else {}


def _is_print_size(tiff: tifffile.TiffFile, size: tuple[float, float], unit: str) -> bool:
    """Return whether a pixel size says only how large to print an image.

    Microscope files are trusted. Other files with plain resolution tags, or with inches or
    centimetres in the metadata of ImageJ or OME, which copy these tags, state a print size if the
    resolution is per inch, if it is a usual one per inch, or if EXIF metadata name a lens setting.
    """
    page: Any = main_series(tiff).keyframe
    plain = not tiff.is_ome and not (tiff.imagej_metadata or {}).get("unit")
    if page.flags & _MICROSCOPES or not (plain or unit in {"inch", "centimeter"}):
        return False
    exif = page.tags.valueof(34665)
    if plain and isinstance(exif, dict) and exif.keys() & _LENS:
        return True
    in_inches = int(page.tags.valueof(296, 2)) == 2 if plain else unit == "inch"
    if in_inches and not tiff.is_ome:
        return max(_PER_INCH[unit] / each for each in size) < _FINEST_PRINT
    return _is_density(size, unit, _PRINT_DENSITIES)


def _is_density(size: tuple[float, float], unit: str, densities: Sequence[float]) -> bool:
    """Return whether a pixel size is only a density in pixels per inch, such as a screen's.

    Converters copy such densities into other units and other metadata.
    """
    if unit not in _PER_INCH:
        return False
    rows, columns = (_PER_INCH[unit] / each for each in size)
    return all(any(abs(each - d) < _ROUNDED for d in densities) for each in (rows, columns))


def _ome_size(tiff: tifffile.TiffFile, axis: str) -> tuple[float, str]:
    """Return the pixel size along X, Y or Z, which may each have another unit."""
    image = tifffile.xml2dict(tiff.ome_metadata or "")["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    unit = str(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return length(float(pixels[f"PhysicalSize{axis}"]), unit)


def _ome_spacing(tiff: tifffile.TiffFile) -> tuple[float, float, str]:
    """Return the size of rows and columns in the unit of the columns."""
    rows, columns = _ome_size(tiff, "Y"), _ome_size(tiff, "X")
    return converted(*rows, columns[1]), *columns


def _tag_spacing(tiff: tifffile.TiffFile) -> tuple[float, float, str] | None:
    """Return the inverse of pixels per unit; one pixel per unit means unknown."""
    tags: Any = main_series(tiff).keyframe.tags
    densities = [tags.valueof(code) for code in (283, 282)]  # YResolution, XResolution
    if None in densities:
        return None
    rows, columns = (top / bottom for top, bottom in densities)
    imagej_unit = (tiff.imagej_metadata or {}).get("unit")
    if imagej_unit:
        size, unit = length(1 / columns, str(imagej_unit))
        return size * columns / rows, size, unit
    code = int(tags.valueof(296, 2))
    if rows == columns == _NO_DENSITY:
        return None
    if code == 2:
        return 25400 / rows, 25400 / columns, "micrometer"
    if code == 3:
        return 10000 / rows, 10000 / columns, "micrometer"
    return None


def depth_of(tiff: tifffile.TiffFile) -> float | None:
    """Return the plane distance from OME or ImageJ metadata, in the unit of the pixels."""
    try:
        if tiff.is_ome:
            depth = converted(*_ome_size(tiff, "Z"), _ome_size(tiff, "X")[1])
        else:
            depth = float((tiff.imagej_metadata or {})["spacing"])
    except (KeyError, ValueError, TypeError):
        return None
    return depth if math.isfinite(depth) and depth > 0 else None
