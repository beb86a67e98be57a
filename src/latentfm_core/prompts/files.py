"""Read prompts from COCO annotations, LabelMe, lists of prompts, and label images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.config.explain import explained, located
from latentfm_core.datasets.mask_names import base_name, by_key
from latentfm_core.errors import DatasetError
from latentfm_core.files.regular import is_locked
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.endings import image_name
from latentfm_core.images.read import is_image, list_images, read_instances
from latentfm_core.names import comparable, name_some, shown
from latentfm_core.prompts.coco import Number, coco_prompts
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.file_checks import MAX_BYTES, check_count, may_be_corners
from latentfm_core.prompts.labelme import is_labelme, labelme_files, labelme_prompts
from latentfm_core.prompts.prompt import Prompt

_ACCEPTED = (
    "Give COCO annotations, LabelMe, a list of prompts (all JSON; see latentfm-predict --help), a "
    "label image, or a folder of label images or LabelMe files."
)
_RESULTS = "COCO results, which do not name the images"
_CREATE_ML = "CreateML JSON"
_LABEL_STUDIO = "Label Studio JSON"
_LISTS = {_RESULTS, _CREATE_ML, _LABEL_STUDIO}
_BY_KEYS = {
    frozenset({"type", "geometry"}): "GeoJSON, as QuPath writes it",
    frozenset({"type", "features"}): "GeoJSON, as QuPath writes it",
    frozenset({"_via_img_metadata"}): "VGG Image Annotator JSON",
    frozenset({"data", "annotations"}): _LABEL_STUDIO,
    frozenset({"objects", "size"}): "Supervisely JSON",
    frozenset({"image_id", "bbox"}): _RESULTS,
    frozenset({"image_id", "segmentation"}): _RESULTS,
    frozenset({"image", "annotations"}): _CREATE_ML,
}
"""Formats of other programs by their keys."""
_BY_ENDING = {".xml": "XML of Pascal VOC or CVAT", ".txt": "text of YOLO", ".csv": "a table"}


@dataclass(frozen=True)
class PromptFile:
    """Prompts of several images.

    Attributes
    ----------
    names
        Names of images as the file gives them, with or without folders and extension, in NFC;
        empty if its prompts apply to any image.
    read
        Returns the prompts of the image of a name in `names`, one for each object.
    sizes
        Rows and columns of the annotated images, if the file gives them.
    corners
        Whether the file is of a format with sizes of boxes, all of which could be corners.
    labels
        The label image of each name, if prompts are label images; of ``""`` for any image.
    """

    names: frozenset[str]
    read: Callable[[str], list[Prompt]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    corners: bool = False
    labels: Mapping[str, Path] = field(default_factory=dict)

    def of(self, image: Path) -> list[Prompt]:
        """Return the prompts of an image, one for each object; may be empty.

        Raises `DatasetError` as `used` does.
        """
        if not self.names:
            return self.read("")
        used = self.used(image)
        return [] if used is None else self.read(used)

    def size_of(self, image: Path) -> tuple[int, int] | None:
        """Return rows and columns of an image as the file gives them; None if it does not."""
        return self.sizes.get(self.used(image) or "")

    def used(self, image: Path) -> str | None:
        """Return the name in the file that means an image.

        A name whose folders are the last ones of the image's path comes first; else the only name
        with the image's file name, in whichever folder.

        Raises
        ------
        DatasetError
            If several names in other folders have that file name; the message lists them.
        """
        for last in (comparable(image.name), image_name(comparable(image.name))):
            same = self._by_last.get(last, [])
            fitting = [name for name in same if in_folders(name, image)]
            if fitting:
                return max(fitting, key=lambda name: len(_parts(name)))
            if len(same) > 1:
                raise DatasetError(
                    f"The prompts of {shown(image)} are ambiguous: the file of prompts names "
                    f"{name_some(same)}. Keep the folders of the images as they are named there, "
                    "or divide the file by folders."
                )
            if same:
                return same[0]
        return None

    @cached_property
    def _by_last(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self.names):
            found.setdefault(_parts(name)[-1], []).append(name)
        for name in self.labels:  # x_mask belongs to x, unless there is a label image x
            found.setdefault(base_name(name) or name, [name])
        return found


def in_folders(name: str, image: Path) -> bool:
    """Return whether the folders of a name in a prompt file are the last ones of an image's path.

    That is so for a name without folders.
    """
    folders = _parts(name)[:-1]
    above = _parts(comparable(os.path.abspath(image)))[:-1]
    return not folders or above[-len(folders) :] == folders


def _parts(name: str) -> tuple[str, ...]:
    """Return folders and file name; files from Windows separate them with backslashes."""
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


class _Entry(BaseModel):
    """One object of a list of prompts; coordinates are pixels."""

    model_config = ConfigDict(extra="forbid")

    box: tuple[Number, Number, Number, Number] | None = None
    positive: tuple[tuple[Number, Number], ...] = ()
    negative: tuple[tuple[Number, Number], ...] = ()

    def prompt(self, number: int) -> Prompt:
        return Prompt(self.box, self.positive, self.negative, source={"entry": number})


def read_prompts(path: Path, limits: ReadingConfig = READING) -> PromptFile:
    """Read the prompts of images.

    Four kinds of files are supported:

    - COCO annotations, a JSON object with ``images`` and ``annotations``: ``bbox`` ``[x, y,
      width, height]`` is a box, visible ``keypoints`` are positive points;
    - LabelMe JSON of one image, or a folder of such files: rectangles are boxes, points are
      positive points, and polygons rough outlines;
    - a JSON object of lists, one for each image name: ``{"scan1": [{"box": [top, left, bottom,
      right], "positive": [[row, column], ...], "negative": [...]}, ...]}``;
    - a label image, or a folder of label images named as the images or, as masks, ``x_mask`` for
      image x: objects are numbered from 1, and each is used as a rough outline.

    Raises
    ------
    DatasetError
        If the file cannot be read or has another format.
    """
    if is_locked(path):
        raise DatasetError(
            f"The prompts {shown(path)}: no permission to read the folder. Check its permissions."
        )
    if path.is_dir():
        return _labelme_folder(path, limits) or _label_reader(path, limits)
    if is_image(path):
        return _label_reader(path, limits)
    try:
        content = parse_json(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        looks = _BY_ENDING.get(path.suffix.lower())
        seems = f" They look like {looks}." if looks else ""
        raise DatasetError(f"Cannot read the prompts {path}: {error}.{seems} {_ACCEPTED}") from None
    return _prompts_in(content, path, limits)


def _prompts_in(content: Any, path: Path, limits: ReadingConfig) -> PromptFile:
    """Return the prompts in a JSON value of the file `path`."""
    looks = _other_format(content)
    if looks or not isinstance(content, dict):
        seems = f"look like {looks}, which is not supported" if looks else "must be a JSON object"
        raise DatasetError(f"The prompts {path} {seems}. {_ACCEPTED}")
    sizes: dict[str, tuple[int, int]] = {}
    try:
        if "annotations" in content:
            by_image, sizes = coco_prompts(content, path)
        elif is_labelme(content):
            by_image, sizes = labelme_prompts(content, path, limits)
        else:
            by_image = _from_lists(content, path)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        form = (
            "LabelMe gives points as [x, y], and imageHeight and imageWidth in pixels. Open the "
            "image and save it in LabelMe again."
            if is_labelme(content)
            else "An object has box, positive and negative. A box is [top, left, bottom, right], a "
            "point [row, column], both in pixels; a COCO bbox is [x, y, width, height]."
        )
        raise DatasetError(
            f"The prompts {path} cannot be used ({located(first)}: {explained(first)}). {form}"
        ) from None
    for name, prompts in by_image.items():
        check_count(path, name, len(prompts))
    # A name that none of the images has: prompts must not apply to all of them.
    names = frozenset(by_image) or frozenset({""})
    boxes = [prompt.box for prompts in by_image.values() for prompt in prompts if prompt.box]
    corners = "annotations" in content and may_be_corners(boxes)
    return PromptFile(names, by_image.__getitem__, sizes, corners)


def _other_format(content: Any) -> str:
    """Return which format of other programs a JSON value looks like; empty if none is known."""
    first = content[0] if isinstance(content, list) and content else content
    keys = first.keys() if isinstance(first, dict) else set()
    for names, looks in _BY_KEYS.items():
        if names <= keys and (looks not in _LISTS or isinstance(content, list)):
            return looks
    values = first.values() if isinstance(first, dict) else ()
    is_via = any(isinstance(value, dict) and "regions" in value for value in values)
    return "VGG Image Annotator JSON" if is_via else ""


def _from_lists(content: Mapping[str, Any], path: Path) -> dict[str, list[Prompt]]:
    by_image: dict[str, list[Prompt]] = {}
    for given, entries in content.items():
        name = comparable(given)
        if name in by_image:
            raise DatasetError(f"The prompts {path} name the image {shown(name)} twice.")
        listed = entries if isinstance(entries, list) else [entries]
        by_image[name] = [
            _Entry.model_validate(entry).prompt(number) for number, entry in enumerate(listed)
        ]
    return by_image


def _labelme_folder(folder: Path, limits: ReadingConfig) -> PromptFile | None:
    """Return the prompts of the LabelMe files in a folder, or None if they are not to be used."""
    files = labelme_files(folder, limits)
    found = [_prompts_in(content, file, limits) for file, content in files.items()]
    owners = {name: each for each in found for name in each.names}
    if len(owners) < len(found):
        raise DatasetError(
            f"Two of the LabelMe files in {shown(folder)} name the same image. Remove one of them."
        )
    sizes = {name: size for each in found for name, size in each.sizes.items()}
    names = frozenset(owners)
    return PromptFile(names, lambda name: owners[name].read(name), sizes) if found else None


def _label_reader(path: Path, limits: ReadingConfig) -> PromptFile:
    if not path.is_dir():
        return PromptFile(frozenset(), lambda _: _from_labels(path, limits), labels={"": path})
    inside = list(path.iterdir())
    if not any(map(is_image, inside)):
        looks = {_BY_ENDING[end] for file in inside if (end := file.suffix.lower()) in _BY_ENDING}
        seems = f" Its files look like {' or '.join(sorted(looks))}." if looks else ""
        raise DatasetError(
            f"The prompts {shown(path)}: there are no label images and no LabelMe files.{seems} "
            f"{_ACCEPTED}"
        )
    listed = {file: comparable(file.stem) for file in list_images(path, limits)}
    files = by_key(listed, path, "label images")
    # x_mask and x_seg would both belong to x.
    bare = {file: base_name(name) or name for file, name in listed.items()}
    by_key({file: name for file, name in bare.items() if name not in files}, path, "label images")
    names = frozenset(files)
    return PromptFile(names, lambda name: _from_labels(files[name], limits), labels=files)


def _from_labels(path: Path, limits: ReadingConfig) -> list[Prompt]:
    labels = read_instances(path, limits)
    prompts = []
    values = np.unique(labels[labels > 0])
    check_count(path, "", len(values))
    for value in values:
        mask = np.asarray(labels == value)
        prompts.append(Prompt(box=extent(mask), mask=mask, source={"number": int(value)}))
    return prompts
