"""Marks of one object: what is drawn becomes a prompt in pixels of the plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from latentfm_core.prompts import Box, Point, Prompt

EDGE = 0.5
"""napari puts the centre of pixel (i, j) at (i, j), a prompt at (i + 0.5, j + 0.5)."""


def inside(point: Point, shape: tuple[int, int]) -> bool:
    """Return whether a point lies in the plane."""
    return all(0 <= at < side for at, side in zip(point, shape, strict=True))


def clipped(box: Box, shape: tuple[int, int]) -> Box | None:
    """Return the part of a box in the plane, or None if there is none."""
    top, left, bottom, right = box
    found = (
        max(0.0, top),
        max(0.0, left),
        min(float(shape[0]), bottom),
        min(float(shape[1]), right),
    )
    return found if found[0] < found[2] and found[1] < found[3] else None


def with_marks(prompt: Prompt, drawn: Prompt) -> Prompt:
    """Return a prompt with the box and the points of another one, and its own strokes and mask."""
    return replace(prompt, box=drawn.box, positive=drawn.positive, negative=drawn.negative)


def same(one: Prompt, other: Prompt) -> bool:
    """Return whether two prompts are equal."""
    marks = one.positive == other.positive and one.negative == other.negative
    pairs = (one.strokes, other.strokes), (one.mask, other.mask)
    return marks and one.box == other.box and all(_equal(*pair) for pair in pairs)


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or bool(np.array_equal(one, other))
