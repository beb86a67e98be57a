"""Read mask files: background and foreground, numbered classes, or objects.

The same rules apply in training, evaluation, commands, *Open annotation* and the panels. The
displayed colours matter, not the order of the colour table, which the writing program chose:

- grey levels are used as they are, also from a colour table;
- in a colour table with colours, black is the background; a table without black among the colours
  in use, or one that only inverts the grey levels, is ambiguous and rejected;
- numbered classes are the indices of a colour table whose index 0 is black.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ClassesError, ImageError
from latentfm_core.images.colour_tables import (
    check_numbered,
    coloured_indices,
    foreground_by_colour,
    reject_inverted,
    reject_merged,
    reject_transparent,
)
from latentfm_core.images.decode import decode
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.intensity import different_values, listed
from latentfm_core.images.lossless import is_lossless
from latentfm_core.images.mask_levels import LABELS, SCATTER, reject_levels
from latentfm_core.images.no_data import reject_no_data
from latentfm_core.images.threshold_advice import advice_for, class_advice, several_levels
from latentfm_core.names import counted, shown
from latentfm_core.types import Bool

_CONTRAST = 128
"""Minimum contrast of a lossy file for levels around black and white to be noise."""


def read_mask(path: Path, threshold: float | None = None, limits: ReadingConfig = READING) -> Bool:
    """Read a mask as ``(H, W)`` bool, True in the foreground, oriented as by `read_image`.

    Without `threshold` the file must be binary: 0 and one other value, or all 0, or all of
    the highest value (or 1); with a colour table, black and one other colour. With it, pixels
    above `threshold` are foreground in grey-level files. It does not apply to 1-bit files, to
    colour tables with colours, and, if it is at least `LABELS`, to files with the values 0 and 1.
    Colour files with equal channels count as grey; a constant alpha channel is ignored.

    Raises
    ------
    ImageError
        If the file cannot be read, contains NaN, has an ambiguous background colour, declares
        foreground as transparent, or is not binary; the message then lists its values.
    """
    return mask_of(path, decode_mask(path, limits), threshold)


def mask_of(path: Path, decoded: Decoded, threshold: float | None = None) -> Bool:
    """Return the mask of a decoded file, as `read_mask` does."""
    coloured = coloured_indices(path, decoded)
    if coloured is not None:
        return foreground_by_colour(path, decoded, coloured)
    grey = _grey_levels(path, decoded)
    values = different_values(grey)
    if threshold is not None and not _is_exempt(values, threshold, decoded.stored_max):
        if decoded.lossy:
            _reject_noise(path, grey, values, threshold)
        return np.asarray(grey > threshold, dtype=np.bool_)
    _reject_negative(path, values)
    if not _is_binary(values, decoded.stored_max):
        advice, names_classes = advice_for(grey, values, decoded.lossy)
        raise (ClassesError if names_classes else ImageError)(
            f"{shown(path)}: the mask is not binary; its values are {listed(values)}. {advice}"
        )
    return np.asarray(grey != 0, dtype=np.bool_)


def read_labels(path: Path, classes: int, limits: ReadingConfig = READING) -> NDArray[np.uint8]:
    """Read a multi-class mask as ``(H, W)`` uint8: 0 background, k the k-th class.

    Raises
    ------
    ImageError
        If the file cannot be read, is coloured, or contains grey levels or values other than 0 to
        `classes`; the message then lists them.
    """
    return labels_of(path, decode_mask(path, limits), classes)


def labels_of(path: Path, decoded: Decoded, classes: int) -> NDArray[np.uint8]:
    """Return the classes of a decoded file, as `read_labels` does."""
    values = _numbers_of(path, decoded)
    distinct = different_values(values)
    if not decoded.keep_numbers:
        reject_levels(path, values, distinct)
    foreign = distinct[~np.isin(distinct, np.arange(classes + 1))]
    if foreign.size:
        raise ClassesError(
            f"{shown(path)}: the mask has the values {listed(foreign)}, but model.classes names "
            f"{counted(classes, 'class', 'classes')}: only 0 (background) to {classes} are "
            f"allowed. {class_advice(values, distinct)}"
        )
    return values.astype(np.uint8)


def read_instances(path: Path, limits: ReadingConfig = READING) -> NDArray[np.uint16]:
    """Read a mask of numbered objects as ``(H, W)`` uint16: 0 background, 1, 2, ... the objects.

    Raises
    ------
    ImageError
        As `read_numbers`, or if it contains grey levels or values other than integers up to 65535.
    """
    return instances_of(path, decode_mask(path, limits))


def instances_of(path: Path, decoded: Decoded) -> NDArray[np.uint16]:
    """Return the objects of a decoded file, as `read_instances` does."""
    values = _numbers_of(path, decoded)
    distinct = different_values(values)
    highest = np.iinfo(np.uint16).max
    if distinct.size and (
        distinct[0] < 0 or float(distinct[-1]) > highest or (distinct != np.rint(distinct)).any()
    ):
        raise ImageError(
            f"{shown(path)}: the mask has the values {listed(distinct)}. Objects must be numbered "
            f"with whole numbers from 1 to {highest}, and the background must be 0."
        )
    if not decoded.keep_numbers:
        reject_levels(path, values, distinct)
    return values.astype(np.uint16)


def read_numbers(
    path: Path, limits: ReadingConfig = READING, *, binary: bool = False
) -> NDArray[Any]:
    """Read class or object numbers from a file as ``(H, W)`` of any real dtype.

    Parameters
    ----------
    binary
        Read black and one other colour as 0 and 1 where indices cannot be numbers.

    Raises
    ------
    ImageError
        If the file cannot be read, is coloured, contains NaN, has numbers changed by lossy
        compression, or a colour table whose index 0 is not black.
    """
    return _numbers_of(path, decode_mask(path, limits), binary)


def _numbers_of(path: Path, decoded: Decoded, binary: bool = False) -> NDArray[Any]:
    if decoded.lossy:
        _reject_lossy_numbers(path, decoded)
    coloured = coloured_indices(path, decoded)
    if coloured is None or decoded.indices is None or decoded.palette is None:
        reject_merged(path, decoded)
        return _grey_levels(path, decoded)
    if binary and decoded.palette[0, :3].any() and len(coloured) <= 2:
        return foreground_by_colour(path, decoded, coloured)
    check_numbered(path, decoded.palette)
    return decoded.indices


def decode_mask(path: Path, limits: ReadingConfig = READING) -> Decoded:
    """Decode a mask file, which must contain one image.

    Raises
    ------
    ImageError
        As `decode`, if any of several images could be the mask, or if pixels have no data.
    """
    decoded = decode(path, limits.for_masks)
    reject_no_data(path, decoded)
    if decoded.frames > 1:
        raise ImageError(
            f"{shown(path)}: {decoded.frames} images in one file, so it is unclear which one is "
            "the mask. Save the mask alone; number several objects in one image."
        )
    lossy = decoded.lossy and not is_lossless(path, decoded.pixels)
    return replace(decoded, lossy=lossy, keep_numbers=limits.keep_numbers)


def _grey_levels(path: Path, decoded: Decoded) -> NDArray[Any]:
    """Return the grey levels of a mask, all finite."""
    grey = _stored(path, decoded, _one_channel(path, decoded))
    if not grey.size:
        raise ImageError(f"{shown(path)}: the mask has no pixels. Export it again.")
    if grey.dtype.kind not in "buif":
        raise ImageError(
            f"{shown(path)}: a mask cannot have values of type {grey.dtype}. Save whole numbers."
        )
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise ImageError(f"{shown(path)}: the mask has NaN or infinite values. Replace them by 0.")
    clear = decoded.transparent
    if clear and bool((grey == (clear if grey.dtype != np.bool_ else True)).any()):
        reject_transparent(path)
    return grey


def _stored(path: Path, decoded: Decoded, grey: NDArray[Any]) -> NDArray[Any]:
    """Return the values of the file, which decoding may have stretched.

    Raise `ImageError` if it is unclear whether 0 is the background, or if decoding has reduced
    them: small numbers would be lost.
    """
    if decoded.inverted:
        reject_inverted(path)
    if decoded.reduced:
        raise ImageError(
            f"{shown(path)}: a mask with several channels of 16 bits would be read at 8 bits, and "
            "small numbers would be lost. Save it as a grey image of 8 or 16 bits."
        )
    if decoded.stored_max is None:
        return grey
    full = 255 if grey.dtype == np.uint8 else 65535
    stored: NDArray[Any] = np.rint(grey * (decoded.stored_max / full)).astype(grey.dtype)
    return stored


def _reject_noise(path: Path, grey: NDArray[Any], values: NDArray[Any], threshold: float) -> None:
    """Reject a threshold among the values that lossy compression scatters around black or white."""
    low, high = float(values[0]), float(values[-1])
    if high - low < _CONTRAST or low + SCATTER <= threshold <= high - SCATTER:
        return
    advice = several_levels(grey) or (
        f"Set --mask-threshold {low + (high - low) / 2:g} (data.mask_threshold), or save this mask "
        "as PNG in black and white."
    )
    raise ImageError(
        f"{shown(path)}: the mask threshold {threshold:g} lies among the values that lossy "
        f"compression scatters around black and white ({low:g} to {high:g}). {advice}"
    )


def _reject_lossy_numbers(path: Path, decoded: Decoded) -> None:
    """Reject numbers that a lossy compression has changed."""
    count = different_values(_grey_levels(path, decoded)).size
    if count > 2:
        raise ImageError(
            f"{shown(path)}: lossy compression (JPEG or the like) may have changed its numbers "
            f"({count} different values), so they cannot be used as classes or objects. Export "
            "the mask again as PNG or TIFF."
        )


def _reject_negative(path: Path, values: NDArray[Any]) -> None:
    if values.dtype.kind in "if" and values.size and values[0] < 0:
        raise ImageError(
            f"{shown(path)}: the mask has negative values ({listed(values)}), so its background "
            "is unclear. Save it as whole numbers, 0 for background; or set --mask-threshold "
            "(data.mask_threshold): pixels above it are foreground."
        )


def _one_channel(path: Path, decoded: Decoded) -> NDArray[Any]:
    pixels = decoded.pixels
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        if alpha.size and alpha.min() != alpha.max() and decoded.indices is None:
            raise ImageError(
                f"{shown(path)}: the mask has an alpha channel that varies, so its foreground "
                "is unclear. Save it as a grey image without transparency."
            )
        pixels = pixels[..., :-1]
    grey: NDArray[Any] = pixels[..., 0]
    if bool((pixels == grey[..., np.newaxis]).all()):
        return grey
    raise ImageError(
        f"{shown(path)}: the mask is coloured. Save it as a grey image, 0 for background and one "
        "other value for foreground."
    )


def _is_exempt(values: NDArray[Any], threshold: float, highest: int | None) -> bool:
    """Return whether a threshold does not apply to a mask with these values."""
    if values.dtype == np.bool_:
        return True
    return threshold >= LABELS and any(
        bool(np.isin(values, (0, one)).all()) for one in (1, highest) if one is not None
    )


def _is_binary(values: NDArray[Any], highest: int | None) -> bool:
    """Return whether the sorted unique `values` are those of a binary mask.

    `highest` is the highest value of the file's own scale, if it is not that of the data type.
    """
    if values.size == 1:
        full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
        return values[0] in (0, 1, 255, full, highest)
    return values.size == 2 and bool((values == 0).any())
