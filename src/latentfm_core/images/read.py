"""Images and masks from files.

`check_pixels` and `to_rgb` are offered here too, so that one import gives all that a caller
needs between a file and the network's canvas.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.images.decode import TIFF_SUFFIXES, decode
from latentfm_core.images.intensity import check_array, check_pixels, to_rgb
from latentfm_core.images.limits import refuse_links_out
from latentfm_core.images.masks import read_instances, read_labels, read_mask
from latentfm_core.names import shown
from latentfm_core.types import ImageInput

__all__ = [
    "IMAGE_SUFFIXES",
    "check_pixels",
    "is_image",
    "list_images",
    "name_some",
    "read_image",
    "read_instances",
    "read_labels",
    "read_mask",
    "say_left_out",
    "to_rgb",
]

logger = logging.getLogger(__name__)

_NAMES_SHOWN = 10
_NAME_SHOWN = 120
_SAID: set[Path] = set()

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


_COMPANIONS = frozenset(
    {".json", ".csv", ".tsv", ".txt", ".md", ".toml", ".yaml", ".yml", ".xml", ".html", ".log"}
    | {".ini", ".db", ".broken"}
)
"""Endings of files that lie beside images and are not images."""


def is_image(path: Path) -> bool:
    """Tell by its name whether `path` is a visible image file, or a link to one that is missing.

    A link to nowhere is an image that cannot be read, so that it is named and not passed over.
    """
    named = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def list_images(folder: Path, limits: ReadingConfig = READING) -> list[Path]:
    """Return the image files right inside `folder` (not below it), sorted by name.

    Hidden files (a leading dot) and other endings than `IMAGE_SUFFIXES` are left out, which the
    log says.

    Raises
    ------
    DatasetError
        If there is no such folder, it cannot be read, it holds no image, or one is a
        symbolic link out of the folder and `limits` do not allow that.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{shown(folder)} is not a folder. Give the folder that holds the files."
        )
    try:
        every = sorted(folder.iterdir())
        files = [path for path in every if is_image(path)]
    except OSError as error:
        raise DatasetError(
            f"{shown(folder)} cannot be read: {error.strerror or error}. Check the rights to it."
        ) from None
    if not files:
        raise DatasetError(
            f"{shown(folder)} holds no images. Files must lie right inside it and end in one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    refuse_links_out(files, folder, limits, "images")
    say_left_out(folder, [path for path in every if not path.is_dir()], files)
    return files


def say_left_out(folder: Path, every: Iterable[Path], taken: Iterable[Path]) -> None:
    """Count and name the files of a folder that are not taken for images, once each.

    Files whose ending is known to belong to something else are named as information, others in
    a warning.
    """
    kept = set(taken)
    new = [path for path in every if path not in kept and path not in _SAID]
    _SAID.update(new)
    for level, chosen in (
        (logging.WARNING, [path for path in new if not _is_companion(path)]),
        (logging.INFO, [path for path in new if _is_companion(path)]),
    ):
        if chosen:
            logger.log(
                level,
                "%s: %d files are not taken for images: %s",
                shown(folder),
                len(chosen),
                name_some(path.name for path in chosen),
            )


def _is_companion(path: Path) -> bool:
    return path.suffix.lower() in _COMPANIONS or path.name.startswith(".")


def name_some(names: Iterable[str]) -> str:
    """Return the first ten names for a message, and how many there are."""
    listed = sorted(shown(name[:_NAME_SHOWN]) for name in names)
    rest = len(listed) - _NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(listed[:_NAMES_SHOWN]) + more


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
    check_array(decoded.pixels, shown(path))
    return ImageInput(decoded.pixels, decoded.spacing, decoded.unit, path.stem)
