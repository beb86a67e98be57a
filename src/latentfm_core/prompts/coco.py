"""Prompts from COCO annotations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from latentfm_core.errors import DatasetError
from latentfm_core.names import comparable, counted, name_some, shown
from latentfm_core.prompts.file_checks import (
    LIKE_CORNERS,
    ROUNDING,
    check_boxes,
    inside,
    is_background,
    source_of,
    warn_of_background,
)
from latentfm_core.prompts.prompt import Prompt

logger = logging.getLogger(__name__)

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _or_none(box: Any) -> Any:
    """Return None for an empty box, which some programs write beside keypoints."""
    return None if box == [] else box


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(BaseModel):
    id: Any = None
    category_id: Any = None
    image_id: int | str
    bbox: Annotated[tuple[Number, Number, Number, Number] | None, BeforeValidator(_or_none)] = None
    keypoints: tuple[Number, ...] = ()
    area: Any = None
    segmentation: Any = None
    iscrowd: Any = 0

    def are_corners(self) -> bool | None:
        """Return whether the polygon, or else the area, fits ``bbox`` as corners but not as sizes.

        None if it fits both, or there is none.
        """
        if self.bbox is None:
            return None
        x, y, width, height = self.bbox
        around = _extent(self.segmentation)
        if around is not None:
            as_corners, as_sizes = (
                all(abs(a - b) <= ROUNDING for a, b in zip(box, around, strict=True))
                for box in (self.bbox, (x, y, x + width, y + height))
            )
        elif isinstance(self.area, int | float):
            as_corners = width > x and _near(self.area, (width - x) * (height - y))
            as_sizes = _near(self.area, width * height)
        else:
            return None
        return None if as_corners and as_sizes else as_corners

    def triples(self) -> list[tuple[float, float, float]]:
        """Return x, y and visibility of the keypoints: 0 not labelled, 1 hidden, 2 visible."""
        columns = (self.keypoints[start::3] for start in range(3))
        return list(zip(*columns, strict=False))

    def hidden(self) -> int:
        """Return how many keypoints are labelled but not visible."""
        return sum(0 < visible < 2 for *_, visible in self.triples())

    def prompt(self, shape: tuple[int, int] | None, category: str) -> Prompt:
        box = None
        if self.bbox is not None:
            x, y, width, height = self.bbox
            box = (y, x, y + height, x + width)
            if min(self.bbox) >= 0 and max(self.bbox) <= 1 and any(v % 1 for v in self.bbox):
                # Fractions, whatever their order: a part of one pixel, which is refused.
                box = (y, x, min(box[2], 1.0), min(box[3], 1.0))
        points = [(y, x) for x, y, visible in self.triples() if visible >= 2]
        source = source_of(annotation_id=self.id, category_id=self.category_id, category=category)
        inner = tuple(inside(each, shape) if shape else each for each in points)
        return Prompt(box, inner, source=source)


def _near(area: float, expected: float) -> bool:
    return expected * 0.999 <= area <= expected * 1.001


def _extent(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Return ``(x0, y0, x1, y1)`` of polygons; None of anything else."""
    try:
        x, y = ([float(v) for one in segmentation for v in one[start::2]] for start in (0, 1))
        return min(x), min(y), max(x), max(y)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]


def coco_prompts(
    content: Mapping[str, Any], path: Path
) -> tuple[dict[str, list[Prompt]], dict[str, tuple[int, int]]]:
    """Return the prompts of COCO annotations, and rows and columns if known, by image name.

    ``bbox`` ``[x, y, width, height]`` is a box, visible ``keypoints`` are positive points. Hidden
    ones, regions of many objects (``iscrowd``), and categories that mean background are left out,
    with warnings.

    Raises
    ------
    DatasetError
        If an image is listed twice, or the boxes seem to be corners.
    pydantic.ValidationError
        If it has another form.
    """
    coco = _Coco.model_validate(content)
    names = {image.id: comparable(image.file_name) for image in coco.images}
    if len(set(names.values())) < len(coco.images):
        raise DatasetError(
            f"The prompts {path} list an image id or a file name twice. Remove one of them."
        )
    _reject_corners(coco, names, path)
    # Some programs write 0 for an unknown size.
    sizes = {
        comparable(image.file_name): (image.height, image.width)
        for image in coco.images
        if image.height and image.width
    }
    by_image: dict[str, list[Prompt]] = {}
    lost = 0
    _warn_of_unused(coco, names, path)
    categories = _categories(content)
    background = []
    for one in coco.annotations:
        category = categories.get(str(one.category_id), "")
        if one.iscrowd == 1:
            continue
        if is_background(category):
            background.append(category)
            continue
        name = names.get(one.image_id)
        prompt = one.prompt(sizes.get(name or ""), category)
        if name is None or prompt.is_empty:
            lost += 1
        else:
            by_image.setdefault(name, []).append(prompt)
    warn_of_background(path, background, "annotations")
    if lost:
        logger.warning(
            "%s: %d of %s not used: neither bbox nor visible keypoints, or an image that is not "
            "listed",
            shown(path),
            lost,
            counted(len(coco.annotations), "annotation"),
        )
    check_boxes(path, by_image, sizes, "[x, y, width, height]", corners=True)
    return by_image, sizes


def _categories(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the categories by id; none where a file has another form."""
    listed = content.get("categories")
    return {
        str(one.get("id")): str(one["name"])
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    }


def _warn_of_unused(coco: _Coco, names: Mapping[int | str, str], path: Path) -> None:
    """Name the images with hidden keypoints and with regions of many objects."""
    for what, counts in (
        ("keypoints are labelled as not visible", [one.hidden() for one in coco.annotations]),
        (
            "annotations are regions of many objects (iscrowd)",
            [int(one.iscrowd == 1) for one in coco.annotations],
        ),
    ):
        found = [one for one, count in zip(coco.annotations, counts, strict=True) if count]
        if found:
            logger.warning(
                "%s: %d %s and not used: %s",
                shown(path),
                sum(counts),
                what,
                name_some(dict.fromkeys(names.get(one.image_id, "?") for one in found)),
            )


def _reject_corners(coco: _Coco, names: Mapping[int | str, str], path: Path) -> None:
    """Reject boxes if most polygons and areas that fit one reading only fit corners."""
    found = [(one, one.are_corners()) for one in coco.annotations]
    corners = [names.get(one.image_id, "") for one, are in found if are]
    if len(corners) > sum(are is False for _, are in found):
        count = counted(len(corners), "box contradicts its", "boxes contradict their")
        raise DatasetError(
            f"The prompts {shown(path)}: {count} own polygon or area: {name_some(corners)}. They "
            f"{LIKE_CORNERS}, or correct polygons and areas."
        )
