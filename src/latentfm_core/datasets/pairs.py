"""Match masks to images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.mask_names import (
    MASK_SUFFIXES,
    base_name,
    by_key,
    check_complete,
    reject_parts,
)
from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.limits import reject_links_out
from latentfm_core.images.read import (
    is_image,
    list_images,
    log_left_out,
    log_subfolders,
)
from latentfm_core.names import comparable, counted, name_some, shown, storable
from latentfm_core.once import first_time

__all__ = [
    "MASK_SUFFIXES",
    "UNFINISHED",
    "Pair",
    "find_pairs",
    "is_unfinished",
    "pair_files",
    "rater_folders",
]

logger = logging.getLogger(__name__)

WORK_LIST = "worklist.json"
"""State of a work list, in the folder of its annotations."""
WORK_LIST_BYTES = 64_000_000
"""A larger file was not written by a work list."""
_DONE = "completed"
UNFINISHED = "in_progress"
"""Folder of a work list's unfinished annotations."""


@dataclass(frozen=True)
class Pair:
    """An image, its masks, and the name they share (the image's file name without extension).

    Attributes
    ----------
    masks
        One file per rater, at least one.
    raters
        Subfolder of each mask, if they are in subfolders.
    channels
        The second and third channel of the image, if each has its own grey file.
    """

    name: str
    image: Path
    masks: tuple[Path, ...]
    channels: tuple[Path, ...] = ()
    raters: tuple[str, ...] = ()


def find_pairs(
    images: Path,
    masks: Path,
    skip_unmasked: bool = False,
    limits: ReadingConfig = READING,
) -> list[Pair]:
    """Pair the files of two folders by name, sorted by name.

    Masks of several raters are in subfolders of `masks`, one for each rater, with the same
    file names; a rater need not have outlined every image.

    A mask has the image's name without extension, or that name with one of
    `MASK_SUFFIXES` added (``ISIC_1_segmentation.png`` belongs to ``ISIC_1.jpg``). Both
    may be in the same folder if the masks have such a suffix.

    With `skip_unmasked`, images without a mask are skipped.

    Raises
    ------
    DatasetError
        If a folder is missing or empty, two files share a name, an image or a mask is
        unmatched, or a symbolic link leads out of its folder; the message names them.
    """
    _log_unfinished(masks)
    raters = rater_folders(images, masks)
    if raters:
        reject_links_out(raters, masks, limits, "folders")
        _log_beside_raters(images, masks, raters)
        return _pair_raters(images, raters, skip_unmasked, masks, limits)
    image_files, mask_files = list_images(images, limits), list_images(masks, limits)
    for folder in dict.fromkeys((images, masks)):
        log_subfolders(folder, (images, masks, masks / UNFINISHED))
    if images.resolve() == masks.resolve():
        names = {comparable(path.stem) for path in image_files}
        mask_files = [path for path in image_files if base_name(comparable(path.stem)) in names]
        image_files = [path for path in image_files if path not in set(mask_files)]
        if image_files and not mask_files:
            raise DatasetError(
                f"Images (--images, data.images) and masks (--masks, data.masks) are one folder, "
                f"{shown(images)}, and none of its files is the mask of another one. Choose the "
                "folder of the masks, or give each mask the name of its image and one of "
                f"{', '.join(MASK_SUFFIXES)}."
            )
    return pair_files(image_files, mask_files, images, masks, skip_unmasked)


def pair_files(
    image_files: Iterable[Path],
    mask_files: Sequence[Path],
    images: Path,
    masks: Path,
    skip_unmasked: bool = False,
    name: Callable[[Path], str] = lambda path: comparable(path.stem),
) -> list[Pair]:
    """Pair listed files of two folders as `find_pairs` does.

    Parameters
    ----------
    name
        Returns the name of an image.

    Raises
    ------
    DatasetError
        If two files share a name, or an image or a mask is unmatched.
    """
    by_name = by_key({path: name(path) for path in image_files}, images, "images")
    mask_by_name = _masks_by_name(mask_files, by_name, masks)
    reject_parts(by_name, mask_by_name, masks)
    if skip_unmasked:
        by_name = _masked(by_name, mask_by_name)
    check_complete(by_name, mask_by_name, images, masks)
    return [Pair(name, by_name[name], (mask_by_name[name],)) for name in sorted(by_name)]


def rater_folders(images: Path, masks: Path) -> list[Path]:
    """Return the subfolders of `masks` that contain images, if `masks` itself has none.

    A work list's folder of unfinished annotations does not count.
    """
    if not masks.is_dir() or any(is_image(path) for path in masks.iterdir()):
        return []
    matches = sorted(
        folder
        for folder in masks.iterdir()
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.resolve() != images.resolve()
        and any(is_image(path) for path in folder.iterdir())
    )
    return [folder for folder in matches if not is_unfinished(folder)]


def _log_beside_raters(images: Path, masks: Path, raters: Sequence[Path]) -> None:
    """Log what is ignored if masks are in the folders of raters."""
    used = {images.resolve(), *(folder.resolve() for folder in raters)}
    others = [path for path in masks.iterdir() if path.resolve() not in used]
    log_left_out(masks, [path for path in others if not path.is_dir()], ())
    folders = [
        path.name
        for path in others
        if path.is_dir() and not path.name.startswith(".") and not is_unfinished(path)
    ]
    if folders and first_time("no raters", masks):
        logger.warning(
            "%s: %d subfolders without images are not raters: %s",
            shown(masks),
            len(folders),
            name_some(folders),
        )
    for folder in (images, *raters):
        log_subfolders(folder, (images, masks))


def is_unfinished(folder: Path) -> bool:
    """Return whether `folder` contains the unfinished annotations of a work list."""
    return comparable(folder.name).casefold() == UNFINISHED


def _log_unfinished(masks: Path) -> None:
    """Log the unfinished annotations below `masks`; raise `DatasetError` if there are no others."""
    if not masks.is_dir():
        return
    if is_unfinished(masks):
        logger.warning("%s: these are unfinished annotations of a work list", shown(masks))
    folders = [path for path in masks.iterdir() if path.is_dir() and is_unfinished(path)]
    names = [path.name for folder in folders for path in folder.iterdir() if is_image(path)]
    if not names:
        return
    others = [path for path in masks.iterdir() if path not in folders]
    if not any(is_image(path) or (path.is_dir() and any(path.iterdir())) for path in others):
        raise DatasetError(
            f"{shown(masks)} has no finished annotation: {len(names)} are unfinished "
            f"({name_some(names)}). Accept them in the tab Folder of napari-latentfm."
        )
    logger.warning(
        "%s: skipped %s of a work list: %s",
        shown(masks / UNFINISHED),
        counted(len(names), "unfinished annotation"),
        name_some(names),
    )


def _masked(images: Mapping[str, Path], masks: Mapping[str, object]) -> dict[str, Path]:
    # Without any pair nothing is skipped: the error then names both sides.
    kept = {name: path for name, path in images.items() if name in masks}
    if kept and len(kept) < len(images):
        without = [images[name].name for name in images.keys() - kept.keys()]
        which = counted(len(without), "image without a mask is", "images without a mask are")
        logger.warning("%s skipped: %s", which, name_some(without))
    return kept or dict(images)


def _pair_raters(
    images: Path, raters: Sequence[Path], skip_unmasked: bool, masks: Path, limits: ReadingConfig
) -> list[Pair]:
    image_files = list_images(images, limits)
    stems = {path: comparable(path.stem) for path in image_files}
    by_name = by_key(stems, images, "images")
    matches: dict[str, list[Path]] = {}
    for folder in raters:
        files = list_images(folder, limits)
        of_rater = _masks_by_name(files, by_name, folder)
        reject_parts(by_name, of_rater, folder)
        for name, path in of_rater.items():
            matches.setdefault(name, []).append(path)
    if skip_unmasked:
        by_name = _masked(by_name, matches)
    check_complete(by_name, {name: paths[0] for name, paths in matches.items()}, images, masks)
    pairs = []
    for name in sorted(by_name):
        names = tuple(storable(path.parent.name) for path in matches[name])
        pairs.append(Pair(name, by_name[name], tuple(matches[name]), raters=names))
    return pairs


def _warn_of_not_done(files: Iterable[Path], folder: Path) -> None:
    """Name the annotations of a work list whose images are not done, or no longer."""
    try:
        items = parse_json(read_bounded(folder / WORK_LIST, WORK_LIST_BYTES))["images"].values()
        left = [item for item in items if item.get("state") != _DONE]
        not_done = {storable(item["file"]) for item in left if item.get("file")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # no work list, or a damaged one, which the tab Folder reports
    names = [path.name for path in files if storable(path.name) in not_done]
    if names and first_time("not done", folder):
        logger.warning(
            "%s: %s not done in the work list, or changed since, and used as last accepted: %s. "
            "Accept the images again in the tab Folder, or remove these files",
            shown(folder),
            counted(len(names), "annotation is", "annotations are"),
            name_some(names),
        )


def _masks_by_name(
    files: Sequence[Path], images: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    _warn_of_not_done(files, folder)
    stems = {path: comparable(path.stem) for path in files}
    keys = {path: s if s in images else base_name(s) or s for path, s in stems.items()}
    return by_key(keys, folder, "masks")
