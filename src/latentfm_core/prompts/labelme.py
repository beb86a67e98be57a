"""Prompts from LabelMe JSON, which describes one image."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.limits import check_pixels_of
from latentfm_core.images.read import is_image, read_instances
from latentfm_core.names import comparable, counted, name_some, shown
from latentfm_core.prompts.coco import Number
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.file_checks import (
    MAX_BYTES,
    check_boxes,
    check_count,
    inside,
    is_background,
    source_of,
    warn_of_background,
)
from latentfm_core.prompts.prompt import Prompt
from latentfm_core.types import Bool

logger = logging.getLogger(__name__)

_FEWEST = {"point": 1, "rectangle": 2, "polygon": 3}
"""Points of each kind of shape that is used."""


class _Shape(BaseModel):
    points: list[tuple[Number, Number]]
    label: str = ""
    shape_type: str = "polygon"
    group_id: int | None = None


class _File(BaseModel):
    shapes: list[_Shape]
    imagePath: str  # noqa: N815 - the name in the file
    imageHeight: int = Field(gt=0)  # noqa: N815
    imageWidth: int = Field(gt=0)  # noqa: N815


def is_labelme(content: Any) -> bool:
    """Return whether a JSON value is a LabelMe file."""
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def labelme_files(folder: Path, limits: ReadingConfig) -> dict[Path, dict[str, Any]]:
    """Return the contents of the LabelMe files in a folder; none if it contains label images.

    Images next to them are those that the files describe. A warning names the JSON files that are
    not used.
    """
    every = sorted(folder.iterdir())
    files = [f for f in every if f.suffix.lower() == ".json" and not f.name.startswith(".")]
    found = {file: content for file in files if (content := _content(file))}
    described = {_image_name(str(content["imagePath"])) for content in found.values()}
    if found and _has_labels(every, described, limits):
        logger.warning(
            "%s contains label images, so its LabelMe files are not used: %s",
            shown(folder),
            name_some(file.name for file in found),
        )
        return {}
    rest = [file.name for file in files if file not in found]
    if found and rest:
        logger.warning(
            "%s: %d JSON files are not used, as they are damaged or not from LabelMe: %s",
            shown(folder),
            len(rest),
            name_some(rest),
        )
    return found


def _content(file: Path) -> dict[str, Any]:
    """Return a LabelMe file without the image in it; empty for other files."""
    try:
        content = parse_json(read_bounded(file, MAX_BYTES))
    except (OSError, ValueError):
        return {}
    if not is_labelme(content):
        return {}
    return {name: value for name, value in content.items() if name != "imageData"}


def _has_labels(files: Sequence[Path], described: Container[str], limits: ReadingConfig) -> bool:
    """Return whether the first image that is not described is a label image."""
    others = (each for each in files if is_image(each) and comparable(each.name) not in described)
    first = next(others, None)
    try:
        return first is not None and bool(read_instances(first, limits).any())
    except ImageError:
        return False


def _image_name(path: str) -> str:
    """Return the name of an image; its path is relative to the file, not to the image given."""
    return comparable(path.replace("\\", "/").rpartition("/")[2])


def labelme_prompts(
    content: Mapping[str, Any], path: Path, limits: ReadingConfig
) -> tuple[dict[str, list[Prompt]], dict[str, tuple[int, int]]]:
    """Return the prompts of a LabelMe file, and rows and columns, by image name.

    Rectangles are boxes, points are positive points, and polygons rough masks. Shapes of one
    label and ``group_id`` are one object. Labels that mean background are left out with a warning:
    a file does not say from which object they exclude a point.

    Raises
    ------
    ImageError
        If the image is larger than `limits` allow.
    DatasetError
        If there are more objects than possible.
    pydantic.ValidationError
        If it has another form.
    """
    file = _File.model_validate(content)
    shape = (file.imageHeight, file.imageWidth)
    check_pixels_of(str(path), *shape, limits)
    objects: dict[tuple[str | None, int], dict[int, _Shape]] = {}
    background = [one.label for one in file.shapes if is_background(one.label)]
    warn_of_background(path, background, "shapes")
    for number, one in enumerate(file.shapes):
        if is_background(one.label):
            continue
        if len(one.points) >= _FEWEST.get(one.shape_type, len(one.points) + 1):
            key = (None, number) if one.group_id is None else (one.label, one.group_id)
            objects.setdefault(key, {})[number] = one
    check_count(path, file.imagePath, len(objects))
    lost = len(file.shapes) - len(background) - sum(map(len, objects.values()))
    if lost:
        logger.warning(
            "%s: %d of %s not used: only rectangles, points and polygons are",
            shown(path),
            lost,
            counted(len(file.shapes), "shape"),
        )
    name = _image_name(file.imagePath)
    by_image = {name: [_prompt(shapes, shape) for shapes in objects.values()]}
    check_boxes(path, by_image, {name: shape}, "two corners [x, y]")
    return by_image, {name: shape}


def _prompt(numbered: Mapping[int, _Shape], shape: tuple[int, int]) -> Prompt:
    shapes = list(numbered.values())
    source = source_of(label=shapes[0].label, group_id=shapes[0].group_id)
    source["shapes"] = list(numbered)
    of = {kind: [one.points for one in shapes if one.shape_type == kind] for kind in _FEWEST}
    mask: Bool | None = None
    for points in of["polygon"]:
        filled = _filled(points, shape)
        mask = filled if mask is None else mask | filled
    if mask is not None and not mask.any():
        mask = None  # thinner than a pixel
    box = None if mask is None else extent(mask)
    around = of["rectangle"] or (of["polygon"] if mask is None else [])
    if around:
        x, y = zip(*(point for points in around for point in points), strict=True)
        box = (min(y), min(x), max(y), max(x))
    points = [(y, x) for listed in of["point"] for x, y in listed]
    return Prompt(box, tuple(inside(each, shape) for each in points), mask=mask, source=source)


def _filled(points: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Bool:
    from skimage.draw import polygon2mask

    # The centre of the first pixel is at 0.5 in the file, and at 0 for scikit-image.
    filled: Bool = polygon2mask(shape, np.array(points)[:, ::-1] - 0.5)
    return filled
