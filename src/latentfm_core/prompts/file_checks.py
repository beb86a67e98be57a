"""Checks of prompt files: number of objects, and boxes that leave their image."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from latentfm_core.errors import DatasetError
from latentfm_core.images.read import name_some
from latentfm_core.names import shown
from latentfm_core.prompts.prompt import Box, Point, Prompt

logger = logging.getLogger(__name__)

MAX_BYTES = 64_000_000
"""Largest file of prompts."""
MAX_OBJECTS = 10_000
"""Largest number of objects in one image."""
LIKE_CORNERS = (
    "seem to be corners [x0, y0, x1, y1], and a COCO bbox is [x, y, width, height]. Convert them"
)
CORNERS = f"{LIKE_CORNERS}; if they are right, cut them off at the border of the image."
ROUNDING = 1.5
"""Pixels beyond the border that cause no warning."""


def leaves(box: Box, shape: tuple[int, int]) -> bool:
    """Return whether a box extends beyond an image ``(H, W)`` by more than rounding."""
    top, left, bottom, right = box
    return max(-top, -left, bottom - shape[0], right - shape[1]) > ROUNDING


def inside(point: Point, shape: tuple[int, int]) -> Point:
    """Return a point on the border, or beyond it by rounding, in the pixel next to it."""
    row, column = (
        float(min(max(value, 0), side - 0.5)) if -ROUNDING <= value <= side + ROUNDING else value
        for value, side in zip(point, shape, strict=True)
    )
    return row, column


def may_be_corners(boxes: Iterable[Box], shape: tuple[int, int] | None = None) -> bool:
    """Return whether all boxes would be valid, and in an image ``(H, W)``, if sizes were corners.

    True for no box.
    """
    return all(
        top < bottom - top
        and left < right - left
        and (shape is None or not leaves((top, left, bottom - top, right - left), shape))
        for top, left, bottom, right in boxes
    )


def check_boxes(
    path: Path,
    by_image: Mapping[str, Iterable[Prompt]],
    sizes: Mapping[str, tuple[int, int]],
    form: str,
    *,
    corners: bool = False,
) -> None:
    """Check boxes against the sizes of their images, if given.

    A warning names the images that boxes leave.

    Parameters
    ----------
    form
        The form of a box, for the message.
    corners
        Whether boxes have sizes, which could be corners.

    Raises
    ------
    DatasetError
        If boxes with sizes do, and all of them would be valid as corners.
    """
    boxes = {name: [p.box for p in prompts if p.box] for name, prompts in by_image.items()}
    beyond = {
        name: [box for box in boxes.get(name, ()) if leaves(box, size)]
        for name, size in sizes.items()
    }
    names = [name for name, found in beyond.items() if found]
    if not names:
        return
    count = sum(map(len, beyond.values()))
    if corners and all(may_be_corners(found, sizes.get(name)) for name, found in boxes.items()):
        raise DatasetError(
            f"The prompts {shown(path)}: {count} boxes leave their image: {name_some(names)}. They "
            f"{CORNERS}"
        )
    logger.warning(
        "%s: %d boxes leave their image and are cut off at its border: %s. Check that "
        "each box is %s, in pixels of this image.",
        shown(path),
        count,
        name_some(names),
        form,
    )


def check_count(path: Path, name: str, count: int) -> None:
    """Raise `DatasetError` if there are more objects for an image than possible."""
    if count > MAX_OBJECTS:
        image = f" for {shown(name)}" if name else ""
        raise DatasetError(
            f"The prompts {shown(path)} have {count:,} objects{image}, and at most "
            f"{MAX_OBJECTS:,} are possible. Divide the image."
        )
