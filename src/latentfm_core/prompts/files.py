"""Read prompts from COCO annotations, lists of prompts, and label images."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.read import is_image, list_images, name_some, read_instances
from latentfm_core.names import comparable, shown
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.prompt import Prompt

logger = logging.getLogger(__name__)

MAX_BYTES = 64_000_000
MAX_OBJECTS = 10_000
"""Largest number of objects in one image."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


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
        Rows and columns of the annotated images, where the file gives them.
    """

    names: frozenset[str]
    read: Callable[[str], list[Prompt]]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

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
        for last in (comparable(image.name), comparable(image.stem)):
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

    def prompt(self) -> Prompt:
        return Prompt(self.box, self.positive, self.negative)


class _CocoImage(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _CocoAnnotation(BaseModel):
    image_id: int | str
    bbox: tuple[Number, Number, Number, Number] | None = None
    keypoints: tuple[Number, ...] = ()


class _Coco(BaseModel):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]


def read_prompts(path: Path, limits: ReadingConfig = READING) -> PromptFile:
    """Read the prompts of images.

    Three kinds of files are supported:

    - COCO annotations, a JSON object with ``images`` and ``annotations``: ``bbox`` ``[x, y,
      width, height]`` is a box, visible ``keypoints`` are positive points;
    - a JSON object of lists, one for each image name: ``{"scan1": [{"box": [top, left, bottom,
      right], "positive": [[row, column], ...], "negative": [...]}, ...]}``;
    - a label image, or a folder of label images named as the images: objects are numbered from
      1, and each is used as a rough outline.

    Raises
    ------
    DatasetError
        If the file cannot be read or has another format.
    """
    if path.is_dir() or is_image(path):
        return _label_reader(path, limits)
    try:
        content = parse_json(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"Cannot read the prompts {path}: {error}. Give COCO annotations, a list of prompts "
            "(both JSON), a label image or a folder of label images."
        ) from None
    if not isinstance(content, dict):
        raise DatasetError(
            f"The prompts {path} must hold a JSON object; see latentfm-predict --help."
        )
    try:
        coco = _Coco.model_validate(content) if "annotations" in content else None
        by_image = _from_lists(content, path) if coco is None else _from_coco(coco, path)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(str(part) for part in first["loc"])[:200]
        raise DatasetError(
            f"The prompts {path} cannot be used ({location}: {first['msg']}). A box is [top, left, "
            "bottom, right], a point [row, column], both in pixels; a COCO bbox is [x, y, width, "
            "height]."
        ) from None
    for name, prompts in by_image.items():
        _check_count(path, name, len(prompts))
    # A name that none of the images has: prompts must not apply to all of them.
    names = frozenset(by_image) or frozenset({""})
    return PromptFile(names, by_image.__getitem__, {} if coco is None else _sizes(coco))


def _from_lists(content: Mapping[str, Any], path: Path) -> dict[str, list[Prompt]]:
    by_image: dict[str, list[Prompt]] = {}
    for given, entries in content.items():
        name = comparable(given)
        if name in by_image:
            raise DatasetError(f"The prompts {path} name the image {shown(name)} twice.")
        listed = entries if isinstance(entries, list) else [entries]
        by_image[name] = [_Entry.model_validate(entry).prompt() for entry in listed]
    return by_image


def _sizes(coco: _Coco) -> dict[str, tuple[int, int]]:
    """Return rows and columns by name; some programs write 0 for an unknown size."""
    return {
        comparable(image.file_name): (image.height, image.width)
        for image in coco.images
        if image.height and image.width
    }


def _from_coco(coco: _Coco, path: Path) -> dict[str, list[Prompt]]:
    names = {image.id: comparable(image.file_name) for image in coco.images}
    if len(set(names.values())) < len(coco.images):
        raise DatasetError(
            f"The prompts {path} list an image id or a file name twice. Remove one of them."
        )
    by_image: dict[str, list[Prompt]] = {}
    lost = 0
    for one in coco.annotations:
        name = names.get(one.image_id)
        prompt = _coco_prompt(one)
        if name is None or prompt.is_empty:
            lost += 1
        else:
            by_image.setdefault(name, []).append(prompt)
    if lost:
        logger.warning(
            "%s: %d of %d annotations are not used: they have neither bbox nor visible keypoints, "
            "or their image is not listed",
            shown(path),
            lost,
            len(coco.annotations),
        )
    return by_image


def _check_count(path: Path, name: str, count: int) -> None:
    if count > MAX_OBJECTS:
        image = f" for {shown(name)}" if name else ""
        raise DatasetError(
            f"The prompts {shown(path)} have {count:,} objects{image}, and at most "
            f"{MAX_OBJECTS:,} are possible. Divide the image."
        )


def _coco_prompt(annotation: _CocoAnnotation) -> Prompt:
    box = None
    if annotation.bbox is not None:
        x, y, width, height = annotation.bbox
        box = (y, x, y + height, x + width)
    keys = annotation.keypoints
    triples = zip(keys[::3], keys[1::3], keys[2::3], strict=False)
    return Prompt(box, tuple((y, x) for x, y, visible in triples if visible > 0))


def _label_reader(path: Path, limits: ReadingConfig) -> PromptFile:
    if not path.is_dir():
        return PromptFile(frozenset(), lambda _: _from_labels(path, limits))
    files: dict[str, Path] = {}
    for file in list_images(path, limits):
        other = files.setdefault(comparable(file.stem), file)
        if other != file:
            raise DatasetError(
                f"{shown(path)}: {shown(other.name)} and {shown(file.name)} share a name. Keep one "
                "label image of each name."
            )
    return PromptFile(frozenset(files), lambda name: _from_labels(files[name], limits))


def _from_labels(path: Path, limits: ReadingConfig) -> list[Prompt]:
    labels = read_instances(path, limits)
    prompts = []
    values = np.unique(labels[labels > 0])
    _check_count(path, "", len(values))
    for value in values:
        mask = np.asarray(labels == value)
        prompts.append(Prompt(box=extent(mask), mask=mask))
    return prompts
