"""Read images and masks from files.

Also exports `check_pixels` and `to_rgb`, the remaining steps from a file to the network's canvas.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.images.decode import decode
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.endings import IMAGE_SUFFIXES, image_name
from latentfm_core.images.intensity import check_array, check_pixels, to_rgb
from latentfm_core.images.limits import reject_links_out
from latentfm_core.images.masks import read_instances, read_labels, read_mask
from latentfm_core.images.no_data import image_of
from latentfm_core.names import counted, name_some, shown
from latentfm_core.once import first_time
from latentfm_core.types import ImageInput

__all__ = [
    "IMAGE_SUFFIXES",
    "check_pixels",
    "is_image",
    "list_images",
    "log_left_out",
    "log_subfolders",
    "read_image",
    "read_instances",
    "read_labels",
    "read_mask",
    "to_rgb",
]

logger = logging.getLogger(__name__)

_COMPANIONS = frozenset(
    {".json", ".csv", ".tsv", ".txt", ".md", ".toml", ".yaml", ".yml", ".xml", ".html", ".log"}
    | {".ini", ".db", ".broken"}
)
"""Suffixes of known companion files, which are not images."""


def is_image(path: Path) -> bool:
    """Return whether `path` is a visible image file by its name, or a broken link to one.

    Broken links count, so that they are reported rather than skipped.
    """
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def list_images(folder: Path, limits: ReadingConfig = READING) -> list[Path]:
    """Return the image files directly inside `folder`, sorted by name.

    Hidden files (a leading dot) and suffixes other than `IMAGE_SUFFIXES` are skipped and logged.

    Raises
    ------
    DatasetError
        If the folder is missing, unreadable or without images, or contains a symbolic link out of
        it that `limits` do not allow.
    """
    if not folder.is_dir():
        raise DatasetError(f"{shown(folder)} is not a folder. Choose the folder with the files.")
    try:
        every = sorted(folder.iterdir())
        files = [path for path in every if is_image(path)]
    except OSError as error:
        raise DatasetError(
            f"{shown(folder)} cannot be read: {error.strerror or error}. Check its permissions."
        ) from None
    if not files:
        raise DatasetError(
            f"{shown(folder)} has no images. Files must be directly inside it and end in one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    reject_links_out(files, folder, limits, "images")
    log_left_out(folder, [path for path in every if not path.is_dir()], files)
    return files


def log_subfolders(folder: Path, used: Iterable[Path] = ()) -> None:
    """Log the subfolders of a folder whose images are ignored, except those in `used`."""
    known = {path.resolve() for path in used}
    below = [
        path.name
        for path in folder.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and path.resolve() not in known
        and _may_hold_images(path)
    ]
    if below:
        logger.info("%s: images in subfolders are ignored: %s", shown(folder), name_some(below))


def _may_hold_images(folder: Path) -> bool:
    try:
        return any(map(is_image, folder.iterdir()))
    except OSError:
        return True  # no permission: it is named as well


def log_left_out(folder: Path, every: Iterable[Path], taken: Iterable[Path]) -> None:
    """Log the number and names of skipped files in a folder.

    Known companion files are logged as information, others as a warning.
    """
    kept = set(taken)
    new = [path for path in every if path not in kept and first_time("left out", path)]
    for level, chosen in (
        (logging.WARNING, [path for path in new if not _is_companion(path)]),
        (logging.INFO, [path for path in new if _is_companion(path)]),
    ):
        if chosen:
            logger.log(
                level,
                "%s: %s: %s",
                shown(folder),
                counted(len(chosen), "file is not an image", "files are not images"),
                name_some(path.name for path in chosen),
            )


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() in _COMPANIONS or path.name.startswith(".")


def read_image(path: str | Path, limits: ReadingConfig = READING) -> ImageInput:
    """Read one 2D image.

    The EXIF or TIFF orientation is applied, as in an image viewer. Singleton axes are dropped
    and a leading channel axis of a TIFF moves to the end. Pixel size comes from OME or ImageJ
    metadata or the resolution tags of a TIFF; screen densities (72 or 96 per inch), print sizes and
    those of other formats are ignored. Pixels that a TIFF declares as without data (GDAL) get the
    lowest value of the others.

    Its pixels are ``(H, W)`` or ``(H, W, C)``, C in 1..4, in the file's dtype (a palette is
    applied); it is named after the file without its extension.

    Raises
    ------
    ImageError
        If the file cannot be read, is larger than `limits` allow, is a stack, or fails
        `check_pixels`; the message names the file.
    """
    path = Path(path)
    return as_image(decode(path, limits), path)


def as_image(decoded: Decoded, path: Path) -> ImageInput:
    """Return the image of a decoded file, as `read_image` does."""
    pixels = image_of(decoded)
    check_array(pixels, shown(path))
    return ImageInput(pixels, decoded.spacing, decoded.unit, image_name(path.name))
