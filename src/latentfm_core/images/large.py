"""Images larger than memory, read in parts at the network's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError, ResourceError
from latentfm_core.images.intensity import MIN_SIDE, IntensityRange, check_layout, without_alpha
from latentfm_core.images.no_data import fill_no_data, lowest_with_data, without_data
from latentfm_core.types import Float32, ImageInput, ImageLike, reject_masked

_BLOCK_VALUES = 8_000_000
"""Values read at once when an image is strongly downscaled."""
_OVERVIEW_SIDE = 2048
_OVERVIEW_GRID = 16


@dataclass(frozen=True)
class LargeImage:
    """A 2D image that is read by slices.

    Attributes
    ----------
    levels
        The image and any smaller copies, finest first: numpy, dask or zarr arrays
        ``(H, W)`` or ``(H, W, C)`` with C in 1..4, of one real dtype.
    spacing, unit, name
        As for `ImageInput`.
    no_data
        Value of pixels without data in all levels, which are read as the lowest value of the
        others; or None.
    """

    levels: tuple[Any, ...]
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"
    name: str = "image"
    no_data: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of the finest level."""
        height, width = self.levels[0].shape[:2]
        return int(height), int(width)


def large_image(
    pixels: Any,
    spacing: tuple[float, float] | None = None,
    unit: str = "pixel",
    name: str = "image",
) -> LargeImage:
    """Return an array, or the levels of a pyramid (in any order), as a `LargeImage`.

    Raises
    ------
    ImageError
        If it is not a 2D image of real numbers. Values are checked only when they are read.
    """
    levels = list(pixels) if isinstance(pixels, Sequence) else [pixels]
    if not levels:
        raise ImageError(f"{name}: the image has no levels. Check how it was exported.")
    for level in levels:
        check_layout(tuple(level.shape), np.dtype(level.dtype), name)
    levels.sort(key=lambda level: -level.shape[0] * level.shape[1])
    return LargeImage(tuple(levels), spacing, unit, name)


def as_large(image: LargeImage | ImageLike) -> LargeImage:
    """Return an image, or its pixels alone, as a `LargeImage`.

    Raises
    ------
    ImageError
        If it is none of these, or not a 2D image of real numbers.
    """
    if isinstance(image, LargeImage):
        return image
    if not isinstance(image, ImageInput) and not hasattr(image, "dtype"):
        raise ImageError(
            f"image: a large image must be a LargeImage, an ImageInput or an array, not "
            f"{type(image).__name__}. Open a file with open_large(path)."
        )
    if isinstance(image, ImageInput):
        return large_image(image.pixels, image.spacing, image.unit, image.name)
    return large_image(image)


class PixelField:
    """A rescaled view of a large image as RGB in [0, 1], readable in parts.

    Parts are consistent: one intensity range, from an overview of the whole image, applies to
    all of them, and resizing does not depend on where a part begins.

    Parameters
    ----------
    scale
        Pixels of the field per image pixel, at most 1. Reads the coarsest level that is fine
        enough.

    Attributes
    ----------
    shape
        ``(H, W)`` of the field.
    """

    def __init__(self, image: LargeImage, scale: float = 1.0) -> None:
        self._image = image
        height, width = image.shape
        self.shape = max(MIN_SIDE, round(height * scale)), max(MIN_SIDE, round(width * scale))
        enough = [
            level
            for level in image.levels
            if level.shape[0] >= self.shape[0] and level.shape[1] >= self.shape[1]
        ]
        self._level = enough[-1] if enough else image.levels[0]

    def read(self, top: int, left: int, height: int, width: int) -> Float32:
        """Return ``(height, width, 3)`` float32; outside the image, its edge is repeated.

        Raises
        ------
        ImageError
            If the pixels cannot be read, or contain NaN or infinite values.
        """
        bottom, right = min(top + height, self.shape[0]), min(left + width, self.shape[1])
        part = self._intensity.scale(self._shifted((top, bottom), (left, right)))
        free = ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0))
        padded = np.pad(part, free, mode="edge")
        return np.array(np.broadcast_to(padded, (height, width, 3)), dtype=np.float32, order="C")

    @cached_property
    def _intensity(self) -> IntensityRange:
        dtype = np.dtype(self._level.dtype)
        if dtype in (np.bool_, np.uint8):
            return IntensityRange.fit(np.zeros((1, 1), dtype))
        overview = self._overview()
        return IntensityRange.fit(fill_no_data(overview, self._missing(overview)))

    @cached_property
    def _lowest(self) -> NDArray[Any]:
        """The value of pixels without data."""
        overview = self._overview()
        return lowest_with_data(overview, self._missing(overview))

    def _missing(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        return without_data(pixels, self._image.no_data)

    def _overview(self) -> NDArray[Any]:
        """Return the smallest level if it is small, else windows spread over it."""
        level = self._image.levels[-1]
        height, width = level.shape[:2]
        if height * width <= _OVERVIEW_SIDE**2:
            return self._stored(level, (0, height), (0, width))
        side = _OVERVIEW_SIDE // _OVERVIEW_GRID
        starts = [
            np.unique(np.linspace(0, max(0, length - side), _OVERVIEW_GRID).astype(int))
            for length in (height, width)
        ]
        windows = [
            self._stored(level, (y, min(y + side, height)), (x, min(x + side, width)))
            for y in starts[0].tolist()
            for x in starts[1].tolist()
        ]
        channels = windows[0].shape[2:]
        return np.concatenate([window.reshape(1, -1, *channels) for window in windows], axis=1)

    def _shifted(
        self, rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[np.floating[Any]]:
        """Return part of the field as values of `IntensityRange.shift`."""
        level = self._level
        y, x = (
            _Resampling(*span, level.shape[axis], self.shape[axis])
            for axis, span in enumerate((rows, columns))
        )
        channels = int(np.prod(level.shape[2:], dtype=int))
        count = max(1, _BLOCK_VALUES // ((x.stop - x.start) * channels))
        total: Any = 0.0
        for first in range(y.start, y.stop, count):
            last = min(first + count, y.stop)
            block = self._pixels(level, (first, last), (x.start, x.stop))
            block = self._intensity.shift(block)
            block = block[..., np.newaxis] if block.ndim == 2 else block
            if y.unchanged and x.unchanged and last - first == y.stop - y.start:
                return block
            total = total + y.apply(first, x.apply(x.start, block, axis=1), axis=0)
        shifted: NDArray[np.floating[Any]] = total
        return shifted

    def _pixels(self, level: Any, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        pixels = self._stored(level, rows, columns)
        missing = self._missing(pixels)
        return pixels if missing is None else fill_no_data(pixels, missing, self._lowest)

    def _stored(self, level: Any, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        place = f"rows {rows[0]} to {rows[1]}, columns {columns[0]} to {columns[1]}"
        try:
            read = level[rows[0] : rows[1], columns[0] : columns[1]]
            reject_masked(read, self._image.name)
            pixels = np.asarray(read)
        except ImageError:
            raise
        except MemoryError:
            raise ResourceError(
                f"{self._image.name}: not enough memory to read {place}. Close other programs."
            ) from None
        except Exception as error:
            # The array's backend (a file, a network drive, a graph) may fail.
            raise ImageError(
                f"{self._image.name}: {place} cannot be read ({type(error).__name__}: {error}). "
                "Check the file, or copy it again."
            ) from error
        colours = without_alpha(pixels)
        missing = self._missing(colours)
        measured = colours if missing is None else colours[~missing]
        if colours.dtype.kind == "f" and not np.isfinite(measured).all():
            raise ImageError(
                f"{self._image.name}: NaN or infinite values in {place}. Replace them, for "
                "example by 0."
            )
        return colours


class _Resampling:
    """Bilinear resampling with half-pixel centres and a kernel as wide as an output pixel.

    Resizes a part as `latentfm_core.images.canvas` resizes a whole image.

    Parameters
    ----------
    first, last
        Output pixels, of `length_out`.

    Attributes
    ----------
    start, stop
        Range of input pixels they depend on.
    unchanged
        Whether output and input are equal.
    """

    def __init__(self, first: int, last: int, length_in: int, length_out: int) -> None:
        self.unchanged = length_in == length_out
        if self.unchanged:
            self.start, self.stop = first, last
            self._matrix = np.eye(last - first, dtype=np.float32)
            return
        ratio = length_in / length_out
        width = max(1.0, ratio)
        centres = (np.arange(first, last) + 0.5) * ratio
        self.start = max(0, int(np.floor(centres[0] - width)))
        self.stop = min(length_in, int(np.ceil(centres[-1] + width)) + 1)
        places = np.arange(self.start, self.stop) + 0.5
        weights = np.maximum(0.0, 1 - np.abs(places[None] - centres[:, None]) / width)
        self._matrix = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    def apply(
        self, begin: int, values: NDArray[np.floating[Any]], axis: int
    ) -> NDArray[np.floating[Any]]:
        """Return the contribution of the input pixels from `begin` on along an axis."""
        offset = begin - self.start
        matrix = self._matrix[:, offset : offset + values.shape[axis]]
        if self.unchanged and matrix.shape[0] == matrix.shape[1]:
            return values
        moved = np.tensordot(matrix, values, axes=(1, axis))
        result: NDArray[np.floating[Any]] = np.moveaxis(moved, 0, axis)
        return result
