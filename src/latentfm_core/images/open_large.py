"""Open image files of any size as arrays read by slices."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.regular import is_locked
from latentfm_core.images.channel_names import tiff_channels, zarr_channels
from latentfm_core.images.channels import (
    COLOURS,
    Channels,
    channels_of,
    check_channel,
    named_channels,
)
from latentfm_core.images.checked_codecs import bounded_array
from latentfm_core.images.endings import image_name
from latentfm_core.images.large import LargeImage, large_image
from latentfm_core.images.no_data import no_data_of
from latentfm_core.images.read import read_image
from latentfm_core.images.regular_store import RegularStore
from latentfm_core.images.spacing import spacing_of, zarr_spacing
from latentfm_core.images.tiff import is_tiff, open_tiff, orientation_of, other_colours
from latentfm_core.images.tiff_codecs import is_packed
from latentfm_core.images.tiff_pages import only_image
from latentfm_core.names import is_there, shown

logger = logging.getLogger(__name__)

_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr array or group."""
    return path.is_dir() and any((path / name).is_file() for name in _ZARR_FILES)


@contextlib.contextmanager
def open_large(path: str | Path, limits: ReadingConfig = READING) -> Iterator[LargeImage]:
    """Open an image file of any size; read its pixels by slices where the format allows.

    These are Zarr arrays, multiscale groups (OME-NGFF), and TIFF files that are uncompressed, or
    tiled or in strips with a codec available to tifffile. Other files are read whole, and only
    if `limits` allow it.

    Yields
    ------
    LargeImage
        Open until the block ends.

    Raises
    ------
    ImageError
        If it cannot be read, or is not a 2D image.
    """
    path = Path(path)
    if not is_there(path):
        raise ImageError(f"{shown(path)}: no such file or folder. Check the path.")
    if is_locked(path):
        raise ImageError(f"{shown(path)}: no permission to read it. Check its permissions.")
    with contextlib.ExitStack() as stack:
        if is_zarr(path):
            yield _open_zarr(path, limits)
            return
        large = None
        if is_tiff(path):
            large = _open_tiff(path, stack, limits)
        if large is None:
            image = read_image(path, limits)
            large = large_image(image.pixels, image.spacing, image.unit, image.name)
        yield large


def _open_zarr(path: Path, limits: ReadingConfig) -> LargeImage:
    name = image_name(path.name)
    try:
        node = zarr.open(RegularStore.at(path), mode="r")
        if isinstance(node, zarr.Array):
            array = _as_image(bounded_array(node, path, limits), path, _axes_of(node), limits)
            return large_image([array], name=name)
        attributes: dict[str, Any] = dict(node.attrs)
        scales = attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")
        if not scales:
            raise ImageError(
                f"{shown(path)}: a Zarr group without an image pyramid. Use the folder of one "
                "image."
            )
        if len(scales) > 1:
            logger.warning(
                "%s: %d images in one Zarr group; reading the first", shown(path), len(scales)
            )
        nodes: list[Any] = [node[level["path"]] for level in scales[0]["datasets"]]
        levels = [bounded_array(each, path, limits) for each in nodes]
        axes = _multiscale_axes(scales[0], levels[0].ndim)
        channels = None
        if "C" in axes and (count := levels[0].shape[axes.index("C")]) > 1:
            channels = named_channels(count, zarr_channels(attributes))
        finest = max(range(len(levels)), key=lambda level: math.prod(levels[level].shape))
        images = [_as_image(level, path, axes, limits, channels) for level in levels]
        return large_image(images, name=name, **zarr_spacing(scales[0], axes, finest))
    except ImageError:
        raise
    except Exception as error:
        # Each kind of store raises its own exceptions.
        logger.debug("%s cannot be opened", path, exc_info=True)
        raise ImageError(
            f"{shown(path)}: cannot be read as a Zarr image ({type(error).__name__}: {error}). "
            "Copy it again."
        ) from None


def _multiscale_axes(scale: dict[str, Any], ndim: int) -> str:
    """Return the axes that OME-NGFF names (its section on multiscales), else ``Q`` for each."""
    axes = scale.get("axes")
    if not axes:
        # Before version 0.3, always these five.
        return "TCZYX" if ndim == 5 else _unnamed(ndim)
    names = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes]
    return _letters(names)


def _axes_of(array: Any) -> str:
    """Return the axes named by a standalone array (Zarr 3, or xarray's convention)."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or dict(array.attrs).get("_ARRAY_DIMENSIONS")
    return _letters([str(name) for name in names]) if names else _unnamed(array.ndim)


def _letters(names: list[str]) -> str:
    letters = [name[:1].upper() if name[:1].upper() in "TCZYX" else "Q" for name in names]
    return "".join(letters)


def _unnamed(ndim: int) -> str:
    return "YX".rjust(ndim, "Q")


def _open_tiff(path: Path, stack: contextlib.ExitStack, limits: ReadingConfig) -> LargeImage | None:
    """Return None if the file must be read whole, which also reports any error."""
    try:
        tiff = stack.enter_context(open_tiff(path))
        series, _ = only_image(tiff, path)
        levels: list[Any]
        page = series.keyframe
        palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        if orientation_of(page) != 1 or palette or other_colours(page) or is_packed(page):
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
        labels = series.axes
        position = next((n for n, label in enumerate(labels) if label in "SC"), None)
        channels = None
        if position is not None and series.shape[position] > 1:
            count = series.shape[position]
            channels = channels_of(page, labels[position], count, tiff_channels(tiff))
        levels = [_as_image(level, path, labels, limits, channels) for level in levels]
        levels[0][0:1, 0:1]  # fails if there is no decoder
        large = large_image(levels, name=image_name(path.name), **spacing_of(tiff))
        return replace(large, no_data=no_data_of(page, path))
    except Exception:
        # Reading it whole works or reports the error.
        logger.debug("%s cannot be read by slices", path, exc_info=True)
        return None


def _decodes_too_much(array: zarr.Array[Any], limits: ReadingConfig) -> bool:
    """Return whether each slice would decode all of it, or more than the limit."""
    chunk, total = math.prod(array.chunks), math.prod(array.shape)
    return chunk >= total or chunk * array.dtype.itemsize > limits.max_bytes


def _as_image(
    array: Any, path: Path, axes: str, limits: ReadingConfig, channels: Channels | None = None
) -> Any:
    """Return an array as ``(H, W)`` or ``(H, W, C)`` without reading it.

    Parameters
    ----------
    axes
        One letter for each axis; ``Q`` if unknown.
    channels
        Kind of its channels; None if unknown.
    """
    shape = tuple(array.shape)
    longer = "".join(
        axis for axis, size in zip(axes, shape, strict=True) if size > 1 or axis in "YX"
    )
    if longer == "QYX" and axes == longer and shape[-1] == COLOURS:
        # Without names: rows, columns, and red, green and blue, as arrays have them.
        axes = longer = "YXS"
    channel = next((letter for letter in "SC" if letter in longer), None)
    if longer.replace(channel or "", "", 1) != "YX":
        raise ImageError(
            f"{shown(path)}: shape {shape} (axes {axes}) is not a 2D image. Use one plane, grey "
            "or with a channel axis named in the file."
        )
    if channel is None:
        return array if axes == "YX" else _PlaneOf(array, axes)
    count = shape[axes.index(channel)]
    channels = channels or named_channels(count)
    check_channel(shown(path), channels, limits.channel)
    if limits.channel is not None:
        return _PlaneOf(array, axes, channel, limits.channel - 1)
    used = count if channels.kind == "alpha" else COLOURS
    if longer == axes == f"YX{channel}" and used == count:
        return array
    return _PlaneOf(array, axes, channel, slice(0, used))


@dataclass(frozen=True)
class _PlaneOf:
    """An array of any axes as an image ``(H, W)`` or ``(H, W, C)``.

    Axes other than rows, columns and `channel` have length 1.
    """

    array: Any
    axes: str
    channel: str | None = None
    taken: int | slice = 0

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = dict(zip(self.axes, self.array.shape, strict=True))
        colours = (self.taken.stop,) if isinstance(self.taken, slice) else ()
        return (sizes["Y"], sizes["X"], *colours)

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[Any]:
        parts: dict[str, Any] = {"Y": index[0], "X": index[1]}
        if self.channel is not None:
            parts[self.channel] = self.taken
        values = np.asarray(self.array[tuple(parts.get(axis, 0) for axis in self.axes)])
        if not isinstance(self.taken, slice):
            return values
        order = [axis for axis in self.axes if axis in parts]
        return np.moveaxis(values, order.index(str(self.channel)), -1)
