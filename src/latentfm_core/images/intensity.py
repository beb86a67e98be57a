"""Check image content and scale intensities to RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.decode import MAX_CHANNELS
from latentfm_core.types import Float32, ImageInput

MIN_SIDE = 2
"""Minimum side in pixels of an image."""

PERCENTILES = (0.1, 99.9)
"""Percentiles mapped to 0 and 1 when the value range is unknown."""

_PERCENTILE_PIXELS = 4_000_000


def check_pixels(image: ImageInput) -> None:
    """Reject an image that cannot be segmented meaningfully.

    Raises
    ------
    ImageError
        If the array is not ``(H, W)`` or ``(H, W, C)`` with C in 1..4, has a side below
        `MIN_SIDE`, is not of a real dtype, holds NaN or infinite values, or is constant.
    """
    check_array(image.pixels, image.name)


def check_array(pixels: NDArray[Any], label: str) -> None:
    """Check pixels as `check_pixels` does; `label` names the image in the message."""
    if pixels.dtype.kind not in "buif":
        raise ImageError(
            f"{label}: values of type {pixels.dtype} are not grey levels or colours. "
            "Convert the image to integers or real numbers."
        )
    if pixels.ndim not in (2, 3):
        raise ImageError(
            f"{label}: {pixels.ndim} dimensions (shape {pixels.shape}). Choose one 2D plane."
        )
    if pixels.ndim == 3 and not 1 <= pixels.shape[2] <= MAX_CHANNELS:
        raise ImageError(
            f"{label}: {pixels.shape[2]} channels (shape {pixels.shape}). Use an image with 1 "
            f"to {MAX_CHANNELS} channels as its last axis: grey, grey + alpha, RGB or RGBA."
        )
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"{label}: {pixels.shape[0]} x {pixels.shape[1]} pixels is too small. "
            f"Both sides must have at least {MIN_SIDE} pixels."
        )
    colours = without_alpha(pixels)
    if colours.dtype.kind == "f" and not np.isfinite(colours).all():
        count = int(np.count_nonzero(~np.isfinite(colours)))
        raise ImageError(
            f"{label}: {count} NaN or infinite values. Replace them, for example by 0."
        )
    if is_constant(pixels):
        value = ", ".join(str(item) for item in np.atleast_1d(colours[0, 0]).tolist())
        raise ImageError(
            f"{label}: constant, every pixel has the value {value}. There is nothing to segment; "
            "check how the image was exported."
        )


def is_constant(pixels: NDArray[Any]) -> bool:
    """Return whether all pixels of ``(H, W)`` or ``(H, W, C)`` are equal, ignoring alpha."""
    if pixels.size == 0:
        return False
    colours = without_alpha(pixels)
    # Most images differ within their first rows.
    first = colours[0, 0]
    blocks = (colours[row : row + 64] for row in range(0, len(colours), 64))
    return all(bool((block == first).all()) for block in blocks)


def to_rgb(image: ImageInput) -> Float32:
    """Return ``(H, W, 3)`` float32 in [0, 1].

    Grey is repeated. Alpha (the 2nd of two, the 4th of four channels) is dropped: it affects
    display, not the measurement. All channels are scaled together by the first rule that
    applies:

    1. ``bool`` and ``uint8``: by the range of the type;
    2. floating point within [0, 1]: unchanged;
    3. anything else: the 0.1 % and 99.9 % percentiles become 0 and 1, values outside are
       clipped. If the two coincide, the minimum and maximum are used. Above 4 million values,
       the percentiles come from an evenly spaced subset.

    Raises
    ------
    ImageError
        As `check_pixels`.
    """
    check_pixels(image)
    colours = without_alpha(image.pixels)
    if colours.dtype == np.bool_:
        scaled = colours.astype(np.float32)
    elif colours.dtype == np.uint8:
        scaled = colours.astype(np.float32)
        scaled /= np.float32(255)
    elif colours.dtype.kind == "f" and colours.min() >= 0 and colours.max() <= 1:
        scaled = colours.astype(np.float32)
    else:
        scaled = _scale_by_percentiles(colours)
    if scaled.ndim == 2:
        scaled = scaled[..., np.newaxis]
    return np.ascontiguousarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))


def grey_range(pixels: NDArray[Any]) -> tuple[float, float]:
    """Return the values mapped to 0 and 1, given representative `pixels` of an image.

    Same rules as `to_rgb`. For constant pixels, the two differ by 1.
    """
    colours = without_alpha(pixels)
    if colours.dtype == np.bool_:
        return 0.0, 1.0
    if colours.dtype == np.uint8:
        return 0.0, 255.0
    if colours.dtype.kind == "f" and colours.min() >= 0 and colours.max() <= 1:
        return 0.0, 1.0
    flat = colours.reshape(-1)
    step = -(-flat.size // _PERCENTILE_PIXELS)
    low, high = (float(level) for level in np.percentile(flat[:: step or 1], PERCENTILES))
    if not high > low:
        low, high = float(flat.min()), float(flat.max())
    return low, high if high > low else low + 1.0


def without_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels without the second of two, or the fourth of four, channels."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        return pixels[..., : pixels.shape[2] - 1]
    return pixels


def different_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the unique values; for bytes, counting is many times faster than `numpy.unique`."""
    if values.dtype not in (np.bool_, np.uint8):
        return np.unique(values)
    counts = np.bincount(values.reshape(-1))
    return np.flatnonzero(counts).astype(values.dtype)


def _above_minimum(values: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return ``values - values.min()``, up to a factor, without overflow or loss of digits.

    64-bit integers do not fit a double; their differences are taken as integers first.
    """
    above: NDArray[np.floating[Any]]
    if values.dtype.kind == "f":
        if values.dtype.itemsize >= 8 and (top := np.abs(values).max()) > 1e300:
            values = values / top  # otherwise a difference of two values may be infinite
        above = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
        above -= above.min()
        return above
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    # Modular arithmetic: the difference of two signed numbers always fits the unsigned type.
    difference = values.view(unsigned) - values.min().view(unsigned)
    above = difference.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    return above


def _scale_by_percentiles(values: NDArray[Any]) -> Float32:
    above = _above_minimum(values)
    flat = above.reshape(-1)
    step = -(-flat.size // _PERCENTILE_PIXELS)
    low, high = np.percentile(flat[:: step or 1], PERCENTILES)
    if not high > low:
        low, high = 0.0, above.max()
    above -= above.dtype.type(low)
    above /= above.dtype.type(high - low)
    return np.clip(above, 0, 1, out=above).astype(np.float32, copy=False)
