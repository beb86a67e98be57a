"""Image files of any size to arrays that are read by slices."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.decode import MAX_CHANNELS, TIFF_SUFFIXES, spacing_of
from latentfm_core.images.large import LargeImage, large_image
from latentfm_core.images.limits import check_bytes_of
from latentfm_core.images.read import read_image
from latentfm_core.images.tiff import open_tiff, other_colours

logger = logging.getLogger(__name__)

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr array or group."""
    return path.is_dir() and any((path / name).is_file() for name in _ZARR_FILES)


@contextlib.contextmanager
def open_large(path: Path, limits: ReadingConfig = READING) -> Iterator[LargeImage]:
    """Open an image file of any size; its pixels are read by slices where the format allows.

    That is so for Zarr arrays, multiscale groups (OME-NGFF), and for TIFF files that are not
    compressed, or are in tiles or strips with a codec that tifffile has here. Other files are
    read whole, and only if `limits` allow it.

    Yields
    ------
    LargeImage
        Open until the block ends.

    Raises
    ------
    ImageError
        If it cannot be read, or is no 2D image.
    """
    if not path.exists():
        raise ImageError(f"{path}: there is no such file or folder. Check the path.")
    with contextlib.ExitStack() as stack:
        if is_zarr(path):
            yield large_image(_zarr_levels(path, limits), name=path.stem)
            return
        found = None
        if path.suffix.lower() in TIFF_SUFFIXES:
            found = _open_tiff(path, stack, limits)
        if found is None:
            image = read_image(path, limits)
            found = large_image(image.pixels, image.spacing, image.unit, image.name)
        yield found


def _zarr_levels(path: Path, limits: ReadingConfig) -> list[Any]:
    try:
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return [_as_image(_bounded(node, path, limits), path)]
        attributes: dict[str, Any] = dict(node.attrs)
        scales = attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")
        if not scales:
            raise ImageError(
                f"{path}: a Zarr group without an image pyramid. Give the folder of one image."
            )
        levels = [_bounded(node[level["path"]], path, limits) for level in scales[0]["datasets"]]
        return [_as_image(level, path) for level in levels]
    except ImageError:
        raise
    except Exception as error:
        # A store can fail in as many ways as there are kinds of it.
        logger.debug("%s cannot be opened", path, exc_info=True)
        raise ImageError(
            f"{path}: cannot be read as a Zarr image ({type(error).__name__}: {error}). Copy it "
            "again."
        ) from None


def _bounded(array: Any, path: Path, limits: ReadingConfig) -> Any:
    """Return `array`, if one chunk, which is decoded as a whole, is within the limits."""
    check_bytes_of(f"{path}: one chunk", math.prod(array.chunks) * array.dtype.itemsize, limits)
    return array


def _open_tiff(path: Path, stack: contextlib.ExitStack, limits: ReadingConfig) -> LargeImage | None:
    """Return None if the file has to be read whole, which also says what is wrong with it."""
    try:
        tiff = stack.enter_context(open_tiff(path))
        series = tiff.series[0]
        levels: list[Any]
        page = series.keyframe
        turned = int(page.tags.valueof(274, 1) or 1) != 1
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        if turned or palette or other_colours(page):
            return None
        if len(series.levels) == 1 and series.dataoffset is not None:
            dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
            mapped = np.memmap(path, dtype, "r", series.dataoffset, series.shape)
            levels = [mapped]
        else:
            store = stack.enter_context(series.aszarr())
            node: Any = zarr.open(store, mode="r")
            levels = [node]
            if isinstance(node, zarr.Group):
                names = sorted((key for key in node if key.isdigit()), key=int)
                levels = [node[name] for name in names]
            if _decodes_too_much(levels[0], limits):
                return None
        levels = [_as_image(level, path) for level in levels]
        levels[0][0:1, 0:1]  # tells whether there is a decoder
        return large_image(levels, name=path.stem, **spacing_of(tiff))
    except Exception:
        # Whatever the reason, reading it whole works or says what is wrong.
        logger.debug("%s cannot be read by slices", path, exc_info=True)
        return None


def _decodes_too_much(array: zarr.Array[Any], limits: ReadingConfig) -> bool:
    """Tell whether each slice would decode all of it, or more than is accepted at once."""
    chunk, whole = math.prod(array.chunks), math.prod(array.shape)
    return chunk >= whole or chunk * array.dtype.itemsize > limits.max_bytes


def _as_image(array: Any, path: Path) -> Any:
    """Return an array as ``(H, W)`` or ``(H, W, C)``, without reading it."""
    shape = tuple(array.shape)
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] <= MAX_CHANNELS):
        return array
    one = [size for size in shape[:-2] if size != 1]
    if len(shape) < 2 or len(one) > 1 or (one and one[0] > MAX_CHANNELS):
        raise ImageError(
            f"{path}: shape {shape} is no 2D image. Give one plane with 1 to {MAX_CHANNELS} "
            "channels."
        )
    return _ChannelsFirst(array, len(one) == 1)


@dataclass(frozen=True)
class _ChannelsFirst:
    """An array ``(..., H, W)``, all other axes but the channels of length 1, as an image."""

    array: Any
    coloured: bool

    @property
    def shape(self) -> tuple[int, ...]:
        height, width = self.array.shape[-2:]
        channels = math.prod(self.array.shape[:-2])
        return (height, width, channels) if self.coloured else (height, width)

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[Any]:
        values: NDArray[Any] = self.array[(..., *index)]
        planes = values.reshape(-1, *values.shape[-2:])
        return planes.transpose(1, 2, 0) if self.coloured else planes[0]
