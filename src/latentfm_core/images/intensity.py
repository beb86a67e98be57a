"""Check image content and scale intensities to RGB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.decode import MAX_CHANNELS
from latentfm_core.types import Float32, ImageInput, ImageLike, as_input

MIN_SIDE = 2
"""Minimum side in pixels of an image."""

PERCENTILES = (0.1, 99.9)
"""Percentiles mapped to 0 and 1 when the value range is unknown."""

VALUES_SHOWN = 8
"""Number of values that a message lists."""

_PIECE = 2**18
"""Values examined at once."""

_PERCENTILE_PIXELS = 4_000_000


def check_pixels(image: ImageInput) -> None:
    """Reject an image that cannot be segmented meaningfully.

    Raises
    ------
    ImageError
        If the array is not ``(H, W)`` or ``(H, W, C)`` with C in 1..4, has a side below
        `MIN_SIDE`, is not of a real dtype, contains NaN or infinite values, or is constant.
    """
    check_array(image.pixels, image.name)


def check_layout(shape: tuple[int, ...], dtype: np.dtype[Any], label: str) -> None:
    """Check what `check_pixels` can check without the values; `label` names the image."""
    if dtype.kind not in "buif":
        raise ImageError(
            f"{label}: values of type {dtype} are not grey levels or colours. "
            "Convert the image to integers or real numbers."
        )
    if len(shape) not in (2, 3):
        raise ImageError(f"{label}: {len(shape)} dimensions (shape {shape}). Choose one 2D plane.")
    if len(shape) == 3 and not 1 <= shape[2] <= MAX_CHANNELS:
        raise ImageError(
            f"{label}: {shape[2]} channels (shape {shape}). Use an image with 1 "
            f"to {MAX_CHANNELS} channels as its last axis: grey, grey + alpha, RGB or RGBA."
        )
    if min(shape[:2]) < MIN_SIDE:
        raise ImageError(
            f"{label}: {shape[0]} x {shape[1]} pixels is too small. "
            f"Both sides must have at least {MIN_SIDE} pixels."
        )


def check_array(pixels: NDArray[Any], label: str) -> None:
    """Check pixels as `check_pixels` does; `label` names the image in the message."""
    check_layout(pixels.shape, pixels.dtype, label)
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


def to_rgb(image: ImageLike) -> Float32:
    """Return ``(H, W, 3)`` float32 in [0, 1], scaled by `IntensityRange`.

    An array is treated as the pixels of an `ImageInput`. Grey is repeated. Alpha (the 2nd of
    two, the 4th of four channels) is dropped: it affects display, not the measurement. All
    channels are scaled together.

    Raises `ImageError` as `as_input` and `check_pixels` do.
    """
    image = as_input(image)
    check_pixels(image)
    colours = without_alpha(image.pixels)
    scaled = IntensityRange.fit(colours).apply(colours)
    if scaled.ndim == 2:
        scaled = scaled[..., np.newaxis]
    return np.ascontiguousarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))


@dataclass(frozen=True)
class IntensityRange:
    """The values of an image that become 0 and 1, for images of any size.

    `fit` takes the first rule that applies:

    1. ``bool`` and ``uint8``: the range of the type;
    2. floating point within [0, 1]: unchanged;
    3. anything else: the 0.1 % and 99.9 % percentiles become 0 and 1, values outside are
       clipped. If the two coincide, the minimum and maximum are used. Above 4 million values,
       the percentiles come from an evenly spaced subset.

    Attributes
    ----------
    low, high
        Values of `shift` that become 0 and 1.
    offset, divisor
        Pixels are divided by one, then the other is subtracted.
    """

    low: float
    high: float
    offset: Any = 0
    divisor: Any = 1
    dtype: type[np.floating[Any]] = np.float32

    @classmethod
    def fit(cls, pixels: NDArray[Any]) -> IntensityRange:
        """Return the range of an image, given its colours or a representative part of them.

        Constant pixels become 0.
        """
        if pixels.dtype in (np.bool_, np.uint8):
            return cls(0.0, 1.0 if pixels.dtype == np.bool_ else 255.0)
        smallest, largest = pixels.min(), pixels.max()
        divisor: Any = 1
        if pixels.dtype.kind == "f":
            if smallest >= 0 and largest <= 1:
                return cls(0.0, 1.0)
            top = max(abs(smallest), abs(largest))
            if pixels.dtype.itemsize >= 8 and top > 1e300:
                divisor = top  # otherwise a difference of two values may be infinite
        dtype = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
        offset = dtype(smallest / divisor) if pixels.dtype.kind == "f" else smallest
        fitted = cls(0.0, 1.0, offset, divisor, dtype)
        flat = pixels.reshape(-1)
        step = -(-flat.size // _PERCENTILE_PIXELS)
        low, high = np.percentile(fitted.shift(flat[:: step or 1]), PERCENTILES)
        if not high > low:
            low, high = 0.0, fitted.shift(np.asarray(largest)[np.newaxis])[0]
        return replace(fitted, low=low, high=high if high > low else low + 1.0)

    def apply(self, pixels: NDArray[Any]) -> Float32:
        """Return pixels of the image as float32 in [0, 1]."""
        return self.scale(self.shift(pixels))

    def shift(self, pixels: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """Return the height of pixels above the smallest one, without losing digits.

        64-bit integers do not fit a double; their differences are taken as integers first.
        """
        if pixels.dtype in (np.bool_, np.uint8):
            return pixels.astype(np.float32)
        if pixels.dtype.kind == "f":
            divided = pixels if self.divisor == 1 else pixels / self.divisor
            above: NDArray[np.floating[Any]] = divided.astype(self.dtype)
            above -= self.dtype(self.offset)
            return above
        native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        native = np.maximum(native, self.offset)  # a part may be darker than what was fitted
        unsigned = np.dtype(f"u{native.dtype.itemsize}")
        # Modular arithmetic: the difference of two signed numbers always fits the unsigned type.
        difference = native.view(unsigned) - np.asarray(self.offset, native.dtype).view(unsigned)
        return np.asarray(difference, self.dtype)

    def scale(self, shifted: NDArray[np.floating[Any]]) -> Float32:
        """Return values of `shift`, which may have been resized, as float32 in [0, 1].

        The argument is overwritten.
        """
        shifted -= shifted.dtype.type(self.low)
        shifted /= shifted.dtype.type(self.high - self.low)
        return np.clip(shifted, 0, 1, out=shifted).astype(np.float32, copy=False)


def without_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels without the second of two, or the fourth of four, channels."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        return pixels[..., : pixels.shape[2] - 1]
    return pixels


def different_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return the unique values, sorted; for few bits, counting is faster than `numpy.unique`."""
    rows = max(1, _PIECE // max(1, values[:1].size))
    pieces = (values[start : start + rows] for start in range(0, len(values), rows))
    if values.dtype not in (np.bool_, np.uint8, np.uint16):
        found = [np.unique(piece) for piece in pieces]
        return np.unique(np.concatenate(found)) if found else np.unique(values)
    there = np.zeros(256**values.itemsize, bool)
    for piece in pieces:
        there[piece.astype(np.uint16)] = True
    return np.flatnonzero(there).astype(values.dtype)


def listed(values: NDArray[Any]) -> str:
    """Return the first of some unique values as text, and how many there are."""
    text = ", ".join(str(value) for value in values[:VALUES_SHOWN].tolist())
    more = f", ... ({values.size} different values)" if values.size > VALUES_SHOWN else ""
    return text + more
