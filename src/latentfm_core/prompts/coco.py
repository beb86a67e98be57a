"""Prompts from COCO annotations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from latentfm_core.errors import DatasetError
from latentfm_core.names import comparable, shown
from latentfm_core.prompts.file_checks import check_boxes
from latentfm_core.prompts.prompt import Prompt

logger = logging.getLogger(__name__)

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(BaseModel):
    image_id: int | str
    bbox: tuple[Number, Number, Number, Number] | None = None
    keypoints: tuple[Number, ...] = ()

    def prompt(self) -> Prompt:
        box = None
        if self.bbox is not None:
            x, y, width, height = self.bbox
            box = (y, x, y + height, x + width)
        triples = zip(self.keypoints[::3], self.keypoints[1::3], self.keypoints[2::3], strict=False)
        return Prompt(box, tuple((y, x) for x, y, visible in triples if visible > 0))


class _Coco(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]


def coco_prompts(
    content: Mapping[str, Any], path: Path
) -> tuple[dict[str, list[Prompt]], dict[str, tuple[int, int]]]:
    """Return the prompts of COCO annotations, and rows and columns where known, by image name.

    ``bbox`` ``[x, y, width, height]`` is a box, visible ``keypoints`` are positive points.

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
    by_image: dict[str, list[Prompt]] = {}
    lost = 0
    for one in coco.annotations:
        name = names.get(one.image_id)
        prompt = one.prompt()
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
    # Some programs write 0 for an unknown size.
    sizes = {
        comparable(image.file_name): (image.height, image.width)
        for image in coco.images
        if image.height and image.width
    }
    check_boxes(path, by_image, sizes)
    return by_image, sizes
