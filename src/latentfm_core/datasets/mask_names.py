"""Match the names of masks to images, and give advice for names that do not match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from latentfm_core.errors import DatasetError
from latentfm_core.names import comparable, counted, name_some, shown

MASK_SUFFIXES = (
    "_segmentation",
    "_seg",
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_gt",
    "_groundtruth",
)
"""Suffixes a mask's name may add to its image's name."""

_PART = re.compile(r"[ _-]?\(?\d{1,3}\)?")
"""What a numbered part of a mask adds to the name of the mask: ``_1``, ``-02``, `` (3)``."""
_WORDS = {suffix[1:] for suffix in MASK_SUFFIXES} | {"image", "images", "img", "segmentations"}
"""Words that say what a file is, not which one."""
_CHANNEL = re.compile(r"_\d{4}$")
"""Channel number that nnU-Net adds to the names of images."""


def base_name(stem: str) -> str | None:
    """Return the name before a mask suffix, or None if there is none."""
    for suffix in MASK_SUFFIXES:
        if stem.lower().endswith(suffix) and len(stem) > len(suffix):
            return stem[: -len(suffix)]
    return None


def by_key(keys: Mapping[Path, str], folder: Path, kind: str) -> dict[str, Path]:
    """Return the file of each name.

    Raises
    ------
    DatasetError
        If two files have the same name.
    """
    matches: dict[str, Path] = {}
    twice: set[str] = set()
    for path, key in keys.items():
        if matches.setdefault(key, path) != path:
            twice.add(f"{matches[key].name} / {path.name}")
    if twice:
        count = counted(len(twice), f"pair of {kind} shares", f"pairs of {kind} share")
        raise DatasetError(
            f"{shown(folder)}: {count} a name: {name_some(twice)}. Keep one file of each name."
        )
    return matches


def reject_parts(images: Mapping[str, Path], masks: Mapping[str, Path], folder: Path) -> None:
    """Reject several mask files of one image, such as ``x_mask`` and ``x_mask_1``.

    If only one of them were used, the objects in the others would become background. In one folder
    with the masks, the others count as images.

    Raises
    ------
    DatasetError
        The message names them.
    """
    parts: dict[str, list[str]] = {}
    for found, suffix_needed in ((masks, False), (images, True)):
        others = masks if found is images else images
        for name in found.keys() - others.keys():
            owner = _whole(name, images, suffix_needed)
            if owner is not None:
                parts.setdefault(owner, []).append(found[name].name)
    for owner, named in parts.items():
        named += [masks[owner].name] if owner in masks else []
    several = {owner: sorted(named) for owner, named in parts.items() if len(named) > 1}
    if several:
        raise DatasetError(
            f"{len(several)} images have several masks in {shown(folder)} that seem to be numbered "
            f"parts of one mask: {name_some(' / '.join(named) for named in several.values())}. "
            "Only one file would be used, and the objects in the others would count as background. "
            "Unite the masks of an image in one file, with the foreground of all of them; if they "
            "are masks of other images, add those."
        )


def _whole(name: str, images: Mapping[str, Path], suffix_needed: bool) -> str | None:
    """Return the image that a numbered mask belongs to, or None if it is not a part of one."""
    number = re.search(rf"{_PART.pattern}$", name)
    if number is None or not number.start():
        return None
    mask = name[: number.start()]
    bare = base_name(mask)
    owner = bare if bare is not None else None if suffix_needed else mask
    return owner if owner in images else None


def check_complete(
    images: Mapping[str, Path], masks: Mapping[str, Path], image_folder: Path, mask_folder: Path
) -> None:
    """Raise `DatasetError` if an image has no mask, or a mask no image; the message names them."""
    problems = []
    lonely_images = sorted(images[name].name for name in images.keys() - masks.keys())
    lonely_masks = sorted(masks[name].name for name in masks.keys() - images.keys())
    if lonely_images:
        count = counted(len(lonely_images), "image has", "images have")
        problems.append(f"{count} no mask: {name_some(lonely_images)}")
    if lonely_masks:
        count = counted(len(lonely_masks), "mask has", "masks have")
        problems.append(f"{count} no image: {name_some(lonely_masks)}")
    if problems:
        skip = (
            " Training skips images without a mask with --set data.skip_unmasked=true."
            if masks and not lonely_masks
            else ""
        )
        raise DatasetError(
            f"Images in {shown(image_folder)} and masks in {shown(mask_folder)} do not match. "
            f"{_near(lonely_images, lonely_masks)}{'; '.join(problems)}. A mask needs the image's "
            f"name without extension, or that name and one of {', '.join(MASK_SUFFIXES)}. Add the "
            f"missing files, or move those without a partner to another folder.{skip}"
        )


def _near(images: Iterable[str], masks: Iterable[str]) -> str:
    """Return a sentence about the two most similar names, empty if none are similar."""
    stems = {comparable(Path(name).stem): name for name in images}
    for mask in masks:
        stem = comparable(Path(mask).stem)
        nnunet = next((s for s in stems if _CHANNEL.sub("", s) == stem), None)
        if nnunet is not None:
            return (
                f"{shown(stems[nnunet])} and {shown(mask)} are named as by nnU-Net: give the "
                "folder with dataset.json, --data FOLDER, instead of two folders. "
            )
    meanings = {_meaning(stem): stem for stem in stems}
    for mask in masks:
        stem = comparable(Path(mask).stem)
        near = meanings.get(_meaning(stem)) or next(
            iter(get_close_matches(stem, stems, 1, 0.75)), None
        )
        if near is not None:
            ending = Path(mask).suffix
            return (
                f"The closest names are {shown(stems[near])} and {shown(mask)}: this mask would "
                f"have to be {shown(near + ending)} or {shown(near + MASK_SUFFIXES[2] + ending)}. "
            )
    return ""


def _meaning(stem: str) -> tuple[str, ...]:
    """Return the words and numbers of a name, without zeros before numbers and words for masks."""
    words = re.findall(r"\d+|[^\W\d_]+", stem.lower())
    return tuple(
        word.lstrip("0") or "0" if word.isdecimal() else word
        for word in words
        if word not in _WORDS
    )
