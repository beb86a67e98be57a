"""Decode TIFF files with tifffile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.channel_names import tiff_channels
from latentfm_core.images.channels import channels_of, chosen_colour, used_channels
from latentfm_core.images.decode_pillow import decode_pillow
from latentfm_core.images.decoded import Decoded, orient
from latentfm_core.images.no_data import no_data_of
from latentfm_core.images.spacing import spacing_of
from latentfm_core.images.tiff import (
    LOSSY,
    as_stored,
    check_series,
    is_fax,
    is_inverted,
    lacks_codec,
    open_tiff,
    orientation_of,
    other_colours,
)
from latentfm_core.images.tiff_codecs import is_packed
from latentfm_core.images.tiff_pages import only_image, stack_message
from latentfm_core.names import shown


def decode_tiff(path: Path, limits: ReadingConfig) -> Decoded | None:
    """Read with tifffile; return None if Pillow must read it.

    Values are returned as stored even if 0 means white: tifffile writes every boolean array
    that way, and napari shows the stored values.
    """
    try:
        with open_tiff(path) as tiff:
            return _decode_series(path, tiff, limits)
    except tifffile.TiffFileError:
        return None  # another format with this suffix, or not an image


def _decode_series(path: Path, tiff: tifffile.TiffFile, limits: ReadingConfig) -> Decoded:
    series, frames = only_image(tiff, path)
    check_series(str(path), series, limits, plane=True)
    page = series.keyframe
    turn = orientation_of(page)
    lossy = int(page.compression) in LOSSY
    spacing: dict[str, Any] = {**spacing_of(tiff), "no_data": no_data_of(page, path)}
    if turn > 4 and spacing.get("spacing"):
        spacing["spacing"] = spacing["spacing"][::-1]
    values = stored_values(series)
    if values is None:
        if not other_colours(page):
            _one_plane(path, np.broadcast_to(False, series.shape), series, limits)
            # Pillow reads the first page of the file.
            check_by_pillow(path, page, len(series.pages) + int(page.index != 0))
        image = decode_pillow(path, limits)
        pixels = as_stored(page, image.pixels)
        image = replace(image, pixels=pixels, lossy=lossy, frames=frames, **spacing)
        # Pillow has applied and discarded the orientation.
        return replace(image, orientation=turn, inverted=is_inverted(tiff, page))
    pixels = orient(_one_plane(path, values, series, limits), turn)
    indices = palette = None
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        indices, palette = pixels, tiff_palette(page)
        pixels = chosen_colour(shown(path), palette[indices], limits.channel)
    decoded = Decoded(pixels, indices, palette, orientation=turn, lossy=lossy, frames=frames)
    return replace(decoded, inverted=is_inverted(tiff, page), **spacing)


def tiff_palette(page: Any) -> NDArray[np.uint8]:
    """Return the colours ``(K, 3)`` of a TIFF page with a palette.

    The 16-bit entries of TIFF colour tables represent 8-bit colours; some programs write 8-bit
    entries, which libtiff recognises in the same way.
    """
    table = np.moveaxis(np.asarray(page.colormap), 0, -1)
    wide = int(table.max(initial=0)) > 255
    colours: NDArray[np.uint8] = (table >> 8 if wide else table).astype(np.uint8)
    return colours


def stored_values(source: Any) -> NDArray[Any] | None:
    """Return pixels of a series or page; None if Pillow must decode or convert them.

    Pillow decodes every fax: tifffile, which can with imagecodecs, gives the opposite values.
    """
    page = source.keyframe
    if other_colours(page) or is_packed(page) or is_fax(page):
        return None
    try:
        values: NDArray[Any] = source.asarray()
    except (ValueError, ImportError) as error:
        if not lacks_codec(error):
            raise
        return None  # JPEG, fax, ...
    return values


def check_by_pillow(path: Path, page: Any, pages: int = 1) -> None:
    """Reject what Pillow reads in part or at 8 bits: several pages, and wide samples of a pixel."""
    wide = page.dtype is not None and page.dtype.itemsize > 1
    if pages > 1 or (wide and page.samplesperpixel > 1):
        kind = f"{shown(path)}: {page.compression.name} compression of channels like these"
        if is_fax(page):
            raise ImageError(f"{kind} is not supported. Save it without compression.")
        raise ImageError(
            f"{kind} needs the package imagecodecs (pip install imagecodecs). Or save it without "
            "compression."
        )


def _one_plane(
    path: Path, values: NDArray[Any], series: tifffile.TiffPageSeries, limits: ReadingConfig
) -> NDArray[Any]:
    """Return ``(H, W)`` or ``(H, W, C)``; a leading channel axis moves to the end.

    Based on the file's axis labels; an axis of unknown meaning (``Q``, ``I``) is a stack.
    """
    axes = series.axes
    keep = [size > 1 or label in "YX" for size, label in zip(values.shape, axes, strict=True)]
    labels = "".join(label for label, kept in zip(axes, keep, strict=True) if kept)
    shape = tuple(size for size, kept in zip(values.shape, keep, strict=True) if kept)
    plane = values.reshape(shape)
    if labels == "YX":
        return plane
    position = next((i for i, label in enumerate(labels) if label in "SC"), None)
    if len(shape) != 3 or position is None:
        raise ImageError(stack_message(path, values.shape, axes))
    described = tiff_channels(series.parent)
    channels = channels_of(series.keyframe, labels[position], shape[position], described)
    moved = np.moveaxis(plane, position, -1)
    return used_channels(shown(path), moved, channels, limits.channel)
