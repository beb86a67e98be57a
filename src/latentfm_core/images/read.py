"""Images and masks from files.

`check_pixels` and `to_rgb` are offered here too, so that one import gives all that a caller
needs between a file and the network's canvas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.images.decode import TIFF_SUFFIXES, Decoded, decode
from latentfm_core.images.intensity import check_array, check_pixels, different_values, to_rgb
from latentfm_core.images.limits import refuse_links_out
from latentfm_core.types import Bool, ImageInput

__all__ = [
    "IMAGE_SUFFIXES",
    "check_pixels",
    "is_image",
    "list_images",
    "read_image",
    "read_instances",
    "read_labels",
    "read_mask",
    "to_rgb",
]

IMAGE_SUFFIXES = TIFF_SUFFIXES | {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".tga",
}
"""File name endings (lower case) that are taken for images."""

_VALUES_SHOWN = 8


def is_image(path: Path) -> bool:
    """Tell by its name whether `path` is a visible image file."""
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and path.is_file()


def list_images(folder: Path, limits: ReadingConfig = READING) -> list[Path]:
    """Return the image files right inside `folder` (not below it), sorted by name.

    Hidden files (a leading dot) and other endings than `IMAGE_SUFFIXES` are left out.

    Raises
    ------
    DatasetError
        If there is no such folder, it cannot be read, it holds no image, or one is a
        symbolic link out of the folder and `limits` do not allow that.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give the folder that holds the files.")
    try:
        files = sorted(path for path in folder.iterdir() if is_image(path))
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be read: {error.strerror or error}. Check the rights to it."
        ) from None
    if not files:
        raise DatasetError(
            f"{folder} holds no images. Files must lie right inside it and end in one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    refuse_links_out(files, folder, limits, "images")
    return files


def read_image(path: Path, limits: ReadingConfig = READING) -> ImageInput:
    """Read one 2D image.

    The EXIF or TIFF orientation is applied, so that rows and columns are those that a
    picture viewer shows. Singleton axes are dropped and a leading channel axis of a TIFF
    moves to the end. Pixel size comes from OME or ImageJ metadata or the resolution tags of
    a TIFF; screen densities (72 or 96 per inch) and those of other formats say nothing of
    the object and are ignored.

    Returns
    -------
    ImageInput
        Pixels ``(H, W)`` or ``(H, W, C)``, C in 1..4, in the file's own dtype (a palette
        is applied); named by the file name without its extension.

    Raises
    ------
    ImageError
        If the file cannot be read whole, is larger than `limits` allow, is a stack, or
        `check_pixels` refuses it; the message names the file.
    """
    decoded = decode(path, limits)
    check_array(decoded.pixels, str(path))
    return ImageInput(decoded.pixels, decoded.spacing, decoded.unit, path.stem)


def read_mask(path: Path, threshold: float | None = None, limits: ReadingConfig = READING) -> Bool:
    """Read a mask as ``(H, W)`` bool, turned as `read_image` turns an image.

    Without `threshold` the file must be binary: 0 and one other value, or all 0, or all of
    the highest value (or 1). With it, pixels above `threshold` are foreground. Colour files
    with equal channels count as grey; a palette that is not grey is read by its indices; an
    alpha channel is ignored when it is the same everywhere.

    Returns
    -------
    Bool
        ``(H, W)``; True is foreground.

    Raises
    ------
    ImageError
        If the file cannot be read, is coloured, holds NaN, or is not binary; the message
        then lists its values.
    """
    grey = _mask_values(path, limits)
    if threshold is not None:
        return np.asarray(grey > threshold, dtype=np.bool_)
    values = different_values(grey)
    if not _is_binary(values):
        shown = ", ".join(str(value) for value in values[:_VALUES_SHOWN].tolist())
        more = f", ... ({values.size} different ones)" if values.size > _VALUES_SHOWN else ""
        middle = (float(values[0]) + float(values[-1])) / 2
        raise ImageError(
            f"{path}: the mask is not binary, it has the values {shown}{more}. A mask needs 0 "
            "and one other value. Or set --mask-threshold (data.mask_threshold): pixels above "
            f"it are foreground, for example --mask-threshold {middle:g}."
        )
    return np.asarray(grey != 0, dtype=np.bool_)


def read_labels(path: Path, classes: int, limits: ReadingConfig = READING) -> NDArray[np.uint8]:
    """Read a mask of several classes as ``(H, W)`` uint8: 0 background, k the k-th class.

    Colour files count as in `read_mask`; a palette is read by its indices.

    Parameters
    ----------
    path
        The file.
    classes
        Number of foreground classes.
    limits
        Of the file's size and links.

    Raises
    ------
    ImageError
        If the file cannot be read, is coloured, or holds other values than 0 to `classes`;
        the message then lists them.
    """
    values = _mask_values(path, limits)
    found = different_values(values)
    foreign = found[~np.isin(found, np.arange(classes + 1))]
    if foreign.size:
        shown = ", ".join(str(value) for value in foreign[:_VALUES_SHOWN].tolist())
        raise ImageError(
            f"{path}: the mask has the values {shown}, but model.classes names {classes} "
            f"classes: only 0 (background) to {classes} can stand in it. Renumber the mask, or "
            "name all classes."
        )
    return values.astype(np.uint8)


def read_instances(path: Path, limits: ReadingConfig = READING) -> NDArray[np.uint16]:
    """Read a mask of numbered objects as ``(H, W)`` uint16: 0 background, 1, 2, ... the objects.

    Raises
    ------
    ImageError
        If the file cannot be read, is coloured, or holds other values than whole numbers from
        0 to 65535.
    """
    values = _mask_values(path, limits)
    found = different_values(values)
    highest = np.iinfo(np.uint16).max
    if found.size and (found[0] < 0 or found[-1] > highest or (found != np.rint(found)).any()):
        raise ImageError(
            f"{path}: the mask has the values {found[0]} to {found[-1]}. Objects must be numbered "
            f"with whole numbers from 1 to {highest}, and the background must be 0."
        )
    return values.astype(np.uint16)


def _mask_values(path: Path, limits: ReadingConfig) -> NDArray[Any]:
    """Return the grey levels or palette indices of a mask, numbers all of them."""
    grey = _grey_levels(path, decode(path, limits))
    if not grey.size:
        raise ImageError(f"{path}: the mask has no pixels. Export it again.")
    if grey.dtype.kind not in "buif":
        raise ImageError(
            f"{path}: a mask cannot have values of type {grey.dtype}. Save whole numbers."
        )
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise ImageError(f"{path}: the mask has NaN or infinite values. Replace them by 0.")
    return grey


def _is_binary(values: NDArray[Any]) -> bool:
    """Whether the sorted different `values` are those of a binary mask."""
    if values.size == 1:
        full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
        return values[0] in (0, 1, 255, full)
    return values.size == 2 and bool((values == 0).any())


def _grey_levels(path: Path, decoded: Decoded) -> NDArray[Any]:
    pixels = decoded.pixels
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3:
        raise ImageError(
            f"{path}: a mask must be 2D, this one has shape {pixels.shape}. Save one plane."
        )
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        if alpha.size and alpha.min() != alpha.max() and decoded.indices is None:
            raise ImageError(
                f"{path}: the mask has an alpha channel that varies, so that its foreground "
                "is unclear. Save it as a grey image without transparency."
            )
        pixels = pixels[..., :-1]
    grey = pixels[..., 0]
    if bool((pixels == grey[..., np.newaxis]).all()):
        return grey
    if decoded.indices is not None:
        return decoded.indices
    raise ImageError(
        f"{path}: the mask is coloured. Save it as a grey image, 0 for background and one "
        "other value for foreground."
    )
