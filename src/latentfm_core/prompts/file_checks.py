"""Checks of prompt files: number of objects, and boxes that extend beyond their image."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latentfm_core.errors import DatasetError
from latentfm_core.names import counted, name_some, shown, storable
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
_BACKGROUND = {"bg", "background", "ignore"}
"""Labels, without underscores around them, that do not mean an object."""
_LONGEST_TEXT = 500
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

    A warning names the images beyond which boxes extend.

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
    leaving = counted(count, "box extends beyond its image", "boxes extend beyond their image")
    if corners and all(may_be_corners(found, sizes.get(name)) for name, found in boxes.items()):
        raise DatasetError(
            f"The prompts {shown(path)}: {leaving}: {name_some(names)}. They {CORNERS}"
        )
    logger.warning(
        "%s: %s and %s cut off at its border: %s. Check that each box is %s, in pixels of this "
        "image.",
        shown(path),
        leaving,
        "is" if count == 1 else "are",
        name_some(names),
        form,
    )


def source_of(**values: Any) -> dict[str, Any]:
    """Return what a file says about an object, without what it leaves out, for its sidecar."""
    return {
        name: storable(value[:_LONGEST_TEXT]) if isinstance(value, str) else value
        for name, value in values.items()
        if value != "" and isinstance(value, str | int)
    }


def is_background(label: object) -> bool:
    """Return whether a label means background, or a region to ignore, rather than an object."""
    return isinstance(label, str) and label.strip().strip("_").casefold() in _BACKGROUND


def warn_of_background(path: Path, labels: Iterable[str], what: str) -> None:
    """Warn of annotations that are not used because of their label, and name the labels."""
    found = list(labels)
    if found:
        logger.warning(
            "%s: %d %s are not used, because their label means background or a region to ignore: "
            "%s. Rename it if these are objects",
            shown(path),
            len(found),
            what,
            name_some(dict.fromkeys(found)),
        )


def check_count(path: Path, name: str, count: int) -> None:
    """Raise `DatasetError` if there are more objects for an image than possible."""
    if count > MAX_OBJECTS:
        image = f" for {shown(name)}" if name else ""
        raise DatasetError(
            f"The prompts {shown(path)} have {count:,} objects{image}, and at most "
            f"{MAX_OBJECTS:,} are possible. Divide the image."
        )
