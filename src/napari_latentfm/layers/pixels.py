"""Pixels of a plane, their size and their unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.types import ImageInput, reject_masked
from napari_latentfm.layers.file_steps import steps_of
from napari_latentfm.layers.planes import Plane, plane_index, unit_factor
from napari_latentfm.layers.pyramid import level_zero

if TYPE_CHECKING:
    from napari.layers import Image


def read_plane(layer: Image, plane: Plane) -> ImageInput:
    """Read the pixels of a plane with their spacing; loads lazy arrays.

    The spacing is None if it is unknown (pixel units and scale 1).

    Raises
    ------
    ImageError
        If reading the array fails.
    """
    pixels = read_pixels(layer, level_zero(layer), plane_index(plane))
    spacing, unit = known_spacing(layer, plane)
    return ImageInput(pixels, spacing, unit, layer.name)


def read_pixels(layer: Image, array: Any, index: tuple[Any, ...]) -> NDArray[Any]:
    """Return a part of one of the layer's arrays in memory.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    try:
        pixels = array[index]
        reject_masked(pixels, layer.name)
        return np.asarray(pixels)
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        # The source of the array (a file, a network drive, a graph) may fail in any way.
        raise ImageError(
            f"{layer.name!r} cannot be read ({type(error).__name__}: {error}). Check its "
            "file, and open it again."
        ) from error


def known_spacing(layer: Image, plane: Plane) -> tuple[tuple[float, float] | None, str]:
    """Return the pixel size ``(row, column)``, None if unknown, and the unit."""
    sizes, unit = _pixel_size(layer, plane)
    known = str(unit) != "pixel" or sizes != (1.0, 1.0)
    return sizes if known else None, str(unit)


def plane_spacing(layer: Image, plane: Plane) -> tuple[tuple[float, float], str]:
    """Return pixel size (row, column) of a plane and its unit; 1 and ``"px"`` if unknown."""
    sizes, unit = _pixel_size(layer, plane)
    if str(unit) == "pixel":
        return (sizes, "px") if sizes == (1.0, 1.0) else (sizes, "units")
    # The short form of the unit, such as µm, if it has one.
    return sizes, f"{unit:~}"


def _pixel_size(layer: Image, plane: Plane) -> tuple[tuple[float, float], Any]:
    row, column = plane.axes
    steps, units = steps_of(layer, plane.axes)
    unit = units[row]
    # Readers of NIfTI files mirror axes by negative steps; a size is positive.
    per_row = abs(steps[row])
    per_column = abs(steps[column]) * unit_factor(units[column], unit)
    return (per_row, per_column), unit
