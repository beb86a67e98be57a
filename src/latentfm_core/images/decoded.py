"""Decoded content of a file, and its orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        Whether the format changes values (JPEG and the like); WebP and JPEG 2000 may be lossless
        nevertheless (`latentfm_core.images.lossless`).
    transparent
        Grey level that the file declares as transparent (PNG chunk tRNS, GIF), or None.
    stored_max
        Largest value of the file's own scale where decoding has stretched it to that of the data
        type, else None.
    reduced
        Whether decoding has reduced 16 bits to 8.
    frames
        Number of images in the file, of which this is the first; thumbnails do not count.
    keep_numbers
        Whether the values are numbers, as the user says.
    no_data
        Value of pixels without a measurement, as a TIFF of GDAL declares it, or None.
    inverted
        Whether 0 is shown as white, and the values may be meant as shown rather than as stored.
    """

    pixels: NDArray[Any]
    indices: NDArray[Any] | None = None
    palette: NDArray[np.uint8] | None = None
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"
    orientation: int = 1
    lossy: bool = False
    transparent: int | None = None
    stored_max: int | None = None
    reduced: bool = False
    frames: int = 1
    inverted: bool = False
    keep_numbers: bool = False
    no_data: float | None = None


def orient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)`` with a TIFF or EXIF orientation (1 to 8) applied."""
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(pixels, flips) if flips else pixels


def unorient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `orient`; only 6 and 8 are not their own inverse."""
    return orient(pixels, {6: 8, 8: 6}.get(orientation, orientation))
