"""Read prompts from COCO annotations, lists of prompts, and label images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.read import is_image, list_images, read_instances
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.prompt import Prompt

MAX_BYTES = 64_000_000
MAX_OBJECTS = 10_000
"""Largest number of objects in one image."""

Number = Annotated[float, Field(allow_inf_nan=False)]

PromptReader = Callable[[Path], list[Prompt]]
"""Returns the prompts of an image, one for each object; may be empty."""


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


class _CocoAnnotation(BaseModel):
    image_id: int | str
    bbox: tuple[Number, Number, Number, Number] | None = None
    keypoints: tuple[Number, ...] = ()


class _Coco(BaseModel):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]


def read_prompts(path: Path, limits: ReadingConfig = READING) -> PromptReader:
    """Return a function that returns the prompts of an image.

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
        by_image = _from_coco(content) if "annotations" in content else _from_lists(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(str(part) for part in first["loc"])[:200]
        raise DatasetError(
            f"The prompts {path} cannot be used ({location}: {first['msg']}). A box is [top, left, "
            "bottom, right], a point [row, column], both in pixels; a COCO bbox is [x, y, width, "
            "height]."
        ) from None
    return lambda image: by_image.get(image.name) or by_image.get(image.stem, [])


def _from_lists(content: Mapping[str, Any]) -> dict[str, list[Prompt]]:
    by_image = {}
    for name, entries in content.items():
        listed = entries if isinstance(entries, list) else [entries]
        by_image[name] = [_Entry.model_validate(entry).prompt() for entry in listed[:MAX_OBJECTS]]
    return by_image


def _from_coco(content: Mapping[str, Any]) -> dict[str, list[Prompt]]:
    coco = _Coco.model_validate(content)
    names = {image.id: PurePosixPath(image.file_name).name for image in coco.images}
    by_image: dict[str, list[Prompt]] = {}
    for one in coco.annotations:
        name = names.get(one.image_id)
        prompt = _coco_prompt(one)
        if name is not None and not prompt.is_empty:
            by_image.setdefault(name, []).append(prompt)
    return by_image


def _coco_prompt(annotation: _CocoAnnotation) -> Prompt:
    box = None
    if annotation.bbox is not None:
        x, y, width, height = annotation.bbox
        box = (y, x, y + height, x + width)
    keys = annotation.keypoints
    triples = zip(keys[::3], keys[1::3], keys[2::3], strict=False)
    return Prompt(box, tuple((y, x) for x, y, visible in triples if visible > 0))


def _label_reader(path: Path, limits: ReadingConfig) -> PromptReader:
    if path.is_dir():
        files = {file.stem: file for file in list_images(path, limits)}
        return lambda image: _from_labels(files[image.stem], limits) if image.stem in files else []
    return lambda image: _from_labels(path, limits)


def _from_labels(path: Path, limits: ReadingConfig) -> list[Prompt]:
    labels = read_instances(path, limits)
    prompts = []
    for value in np.unique(labels[labels > 0])[:MAX_OBJECTS]:
        mask = np.asarray(labels == value)
        prompts.append(Prompt(box=extent(mask), mask=mask))
    return prompts
