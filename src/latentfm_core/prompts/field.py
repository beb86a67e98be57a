"""Choose the part of an image to show on the canvas, so that small objects are enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentfm_core.correction.strokes import FOREGROUND
from latentfm_core.prompts.prompt import Box, Prompt
from latentfm_core.types import Bool

FIELD_SCALE = 2.0
"""Side of the field around a box, in longer sides of the box."""

MIN_FIELD = 32
"""Minimum side of a field in pixels: a smaller one lacks context."""

Window = tuple[int, int, int, int]
"""``(top, left, height, width)`` in whole pixels of the image."""


def field_of(prompt: Prompt, shape: tuple[int, int], scale: float = FIELD_SCALE) -> Window | None:
    """Return the square field around a prompt, clipped to the image.

    It covers all positive points and strokes; negative ones do not enlarge it. Without a box and a
    rough mask the extent of the object is unknown: None means the whole image, and so does a field
    that would be as large.
    """
    box = prompt.box
    if box is None and prompt.mask is not None:
        box = extent(prompt.mask)
    if box is None:
        return None
    window = field_around(_including_points(box, prompt), shape, scale)
    marked = including_marks(box, prompt)
    if window is None or _holds(window, marked):
        return window
    return field_around(marked, shape, scale)


def field_around(box: Box, shape: tuple[int, int], scale: float = FIELD_SCALE) -> Window | None:
    """Return the field of side ``scale`` times the longer side of `box`, or None for all."""
    side = max(MIN_FIELD, round(scale * max(box[2] - box[0], box[3] - box[1])))
    if side >= max(shape):
        return None
    return square_around(box, side, shape)


def square_around(box: Box, side: int, shape: tuple[int, int], grid: float = 1.0) -> Window:
    """Return the square around a box, its corner on a multiple of `grid`, clipped to the image."""
    spans = []
    for low, high, length in zip(box[:2], box[2:], shape, strict=True):
        start = round(round((low + high - side) / 2 / grid) * grid)
        stop = min(length, start + side)
        start = max(0, start)
        spans.append((start, stop - start))
    (top, height), (left, width) = spans
    return top, left, height, width


def extent(mask: Bool) -> Box | None:
    """Return the box around the foreground of ``(H, W)`` bool, or None if there is none."""
    sides: list[tuple[float, float]] = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        if not places.size:
            return None
        sides.append((float(places[0]), float(places[-1] + 1)))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the IoU of boxes ``(top, left, bottom, right)``; 0 if both are empty."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, height) * max(0, width)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / both if both > 0 else 0.0


def including_marks(box: Box, prompt: Prompt) -> Box:
    """Extend a box to all positive points and strokes."""
    box = _including_points(box, prompt)
    painted = None if prompt.strokes is None else extent(prompt.strokes >= FOREGROUND)
    return box if painted is None else _joined(box, painted)


def _including_points(box: Box, prompt: Prompt) -> Box:
    """Extend a box to all positive points."""
    for row, column in prompt.positive:
        box = _joined(box, (row, column, row, column))
    return box


def _joined(one: Box, other: Box) -> Box:
    """Return the box around two boxes."""
    top, left = min(one[0], other[0]), min(one[1], other[1])
    return top, left, max(one[2], other[2]), max(one[3], other[3])


def _holds(window: Window, box: Box) -> bool:
    top, left, height, width = window
    within = top <= box[0] and left <= box[1]
    return within and box[2] <= top + height and box[3] <= left + width
