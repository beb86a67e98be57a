"""Prompts as dense maps on the network's canvas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from latentfm_core.images.canvas import (
    Fit,
    box_on_canvas,
    mask_to_canvas,
    on_canvas,
    strokes_to_canvas,
    window_of,
)
from latentfm_core.prompts.prompt import Box, Point, Prompt
from latentfm_core.types import Float32, Geometry

BOX, POSITIVE, NEGATIVE, ROUGH_MASK = range(4)
"""Channels of the maps. Box and marks are 0 or 1; a rough mask is -1 outside and 1 inside, and
0 everywhere without one."""

POINT_RADIUS = 1 / 64
"""Radius of the disc that a point becomes, as a share of the canvas side."""


def prompt_maps(prompt: Prompt | None, geometry: Geometry) -> Float32:
    """Return the maps ``(4, S, S)`` float32 of a prompt, S = ``geometry.canvas``."""
    side = geometry.canvas
    maps = np.zeros((4, side, side), np.float32)
    if prompt is None:
        return maps
    if prompt.box is not None:
        draw_box(maps[BOX], box_on_canvas(prompt.box, geometry))
    for channel, points in ((POSITIVE, prompt.positive), (NEGATIVE, prompt.negative)):
        for point in points:
            draw_point(maps[channel], on_canvas(point, geometry))
    window = window_of(geometry)
    # Content that fills the canvas was stretched, or is square: the same either way.
    fit: Fit = "stretch" if geometry.box[2:] == (side, side) else "pad"
    if prompt.strokes is not None:
        strokes = strokes_to_canvas(prompt.strokes[window].astype(np.uint8), side, fit)
        maps[POSITIVE][strokes >= FOREGROUND] = 1
        maps[NEGATIVE][strokes == BACKGROUND] = 1
    if prompt.mask is not None:
        inside = mask_to_canvas(prompt.mask[window], side, fit)
        maps[ROUGH_MASK] = np.where(inside, 1, -1)
    return maps


def draw_box(channel: NDArray[np.float32], box: Box) -> None:
    """Fill a box given in canvas pixels, at least one pixel of it, in place."""
    side = len(channel)
    top, left = (min(side - 1, max(0, round(value))) for value in box[:2])
    bottom, right = (max(0, round(value)) for value in box[2:])
    channel[top : max(top + 1, bottom), left : max(left + 1, right)] = 1


def draw_point(channel: NDArray[np.float32], point: Point) -> None:
    """Draw a disc around a point given in canvas pixels, in place."""
    side = len(channel)
    radius = max(1.0, POINT_RADIUS * side)
    rows, columns = (
        np.arange(max(0, int(c - radius - 1)), min(side, int(c + radius + 2))) for c in point
    )
    inside = (rows[:, None] + 0.5 - point[0]) ** 2 + (columns + 0.5 - point[1]) ** 2 <= radius**2
    if rows.size and columns.size:
        part = channel[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        part[inside] = 1
