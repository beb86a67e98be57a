"""Pixels without a measurement, whose value programs that use GDAL declare in a TIFF."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.tiff import has_transparency_mask
from latentfm_core.names import shown
from latentfm_core.once import first_time

logger = logging.getLogger(__name__)

_TAG = 42113
"""GDAL_NODATA, a number as text."""


def no_data_of(page: Any, path: Path) -> float | None:
    """Return the value that a TIFF page declares as no data, or None.

    A page with a transparency mask, the other way to declare them, is not used; the first file of a
    folder with one is named in a warning.
    """
    if has_transparency_mask(page.parent) and first_time("transparency mask", path.parent):
        logger.warning(
            "%s: its transparency mask, which is another page, is not used, and neither are those "
            "of other files in its folder: pixels that it hides are read as they are stored. If "
            "they matter, set them to one value and declare it as without data (GDAL_NODATA)",
            shown(path),
        )
    try:
        return float(str(page.tags.valueof(_TAG, "")).strip("\0 "))
    except ValueError:
        return None  # no such tag


def without_data(stored: NDArray[Any], value: float | None) -> NDArray[np.bool_] | None:
    """Return which pixels of ``(H, W)`` or ``(H, W, C)`` have no data; None if none has.

    Parameters
    ----------
    stored
        Pixels as stored; alpha does not count.
    value
        Value of pixels without data, or None.
    """
    if value is None or not _is_possible(value, stored.dtype):
        return None
    colours = stored if stored.ndim == 2 else stored[..., : 3 if stored.shape[2] > 2 else 1]
    with np.errstate(over="ignore"):
        same = np.isnan(colours) if np.isnan(value) else colours == stored.dtype.type(value)
    missing: NDArray[np.bool_] = same if same.ndim == 2 else same.all(axis=-1)
    return missing if missing.any() else None


def lowest_with_data(pixels: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return the lowest value of each channel where there are data; 0 if there are none."""
    there = pixels.reshape(-1, *pixels.shape[2:]) if missing is None else pixels[~missing]
    lowest: NDArray[Any] = there.min(axis=0) if len(there) else np.zeros_like(pixels[0, 0])
    return lowest


def fill_no_data(
    pixels: NDArray[Any],
    missing: NDArray[np.bool_] | None,
    lowest: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return an image with its pixels without data at the lowest value of the others.

    Parameters
    ----------
    pixels
        The image, or part of it.
    missing
        Which of them have no data, as `without_data` returns it.
    lowest
        The lowest value of the image, if `pixels` are only part of it.
    """
    if missing is None:
        return pixels
    filled = pixels.copy()
    filled[missing] = lowest_with_data(pixels, missing) if lowest is None else lowest
    return filled


def image_of(decoded: Decoded) -> NDArray[Any]:
    """Return the pixels of a decoded image, those without data at the lowest of the others."""
    stored = decoded.pixels if decoded.indices is None else decoded.indices
    return fill_no_data(decoded.pixels, without_data(stored, decoded.no_data))


def reject_no_data(path: Path, decoded: Decoded) -> None:
    """Reject a mask with pixels other than 0 that it declares as without data.

    Raises
    ------
    ImageError
        It is unclear whether they are background.
    """
    stored = decoded.pixels if decoded.indices is None else decoded.indices
    if decoded.no_data and without_data(stored, decoded.no_data) is not None:
        raise ImageError(
            f"{shown(path)}: the mask declares pixels of the value {decoded.no_data:g} as without "
            "data (GDAL), so it is unclear whether they are foreground. Set them to 0 if they are "
            "background, and save the mask without a value for no data."
        )


def _is_possible(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "iu":
        return dtype.kind == "f"
    return value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
