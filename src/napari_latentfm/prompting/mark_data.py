"""Marks of an object: in Shapes and Points layers, and as a prompt in pixels of the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Points, Shapes
from numpy.typing import NDArray

from latentfm_core.prompts import Box, Point, Prompt
from napari_latentfm.layers.annotation_record import PlaneIndex
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.strokes import NOT_COLOUR, POSITIVE_COLOUR

EDGE = 0.5
"""napari puts the centre of pixel (i, j) at (i, j), a prompt at (i + 0.5, j + 0.5)."""
OBJECT, SIGN = "object", "positive"
"""Columns of the features; 0 is the object of a mark that was just drawn."""
BOX_COLOUR, NEGATIVE_COLOUR = POSITIVE_COLOUR, NOT_COLOUR
"""A box marks an object, as a positive point does."""
POSITIVE_SYMBOL, NEGATIVE_SYMBOL = "disc", "x"
DIM = 0.3
"""Opacity of the marks of other objects."""

LINES_PER_SIDE = 200


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


def owners_of(layer: Any) -> list[int]:
    """Return the object of each mark of a layer."""
    return [int(float(number)) for number in layer.features[OBJECT]] if len(layer.data) else []


def line_width(plane: Plane) -> float:
    """Return the width of the lines of boxes on a plane."""
    return max(1.0, max(plane.shape) / LINES_PER_SIDE)


def rgba(colour: str) -> NDArray[np.float64]:
    """Return a colour ``#rrggbb`` as four numbers in [0, 1]."""
    return np.array([*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0])


def opacity(owner: int, current: int, hidden: set[int]) -> float:
    """Return the opacity of the marks of an object."""
    if owner in hidden:
        return 0.0
    return 1.0 if owner in (current, 0) else DIM


def is_on(mark: Any, plane: Plane) -> bool:
    """Return whether the points ``(D,)`` or ``(P, D)`` of a mark lie on a plane."""
    points = np.atleast_2d(np.asarray(mark, float))
    return all(bool((np.rint(points[:, axis]) == at).all()) for axis, at in plane.fixed.items())


def _is_on_any(shape: Any, planes: Mapping[PlaneIndex, Plane]) -> bool:
    """Return whether a shape is on one of several planes of the same axes, without a search."""
    like, corner = next(iter(planes)), np.rint(shape[0])
    index = tuple(None if at is None else int(corner[axis]) for axis, at in enumerate(like))
    return index in planes and is_on(shape, planes[index])


def box_of(shape: Any, plane: Plane) -> Box:
    """Return a rectangle of a Shapes layer as a box in pixels of the plane."""
    corners = np.asarray(shape, float)[:, plane.axes] + EDGE
    (top, left), (bottom, right) = corners.min(axis=0), corners.max(axis=0)
    return float(top), float(left), float(bottom), float(right)


def _corners(box: Box, plane: Plane) -> NDArray[np.float64]:
    top, left, bottom, right = box
    flat = np.array([[top, left], [top, right], [bottom, right], [bottom, left]]) - EDGE
    return _in_layer(flat, plane)


def _in_layer(flat: NDArray[np.float64], plane: Plane) -> NDArray[np.float64]:
    full = np.zeros((len(flat), len(plane.index)))
    full[:, plane.axes] = flat
    for axis, place in plane.fixed.items():
        full[:, axis] = place
    return full


def write_boxes(layer: Shapes, number: int, boxes: Sequence[tuple[Plane, Box | None]]) -> None:
    """Replace the box of an object on some planes; the mark just drawn is removed.

    Parameters
    ----------
    layer, number
        The layer of boxes, and the object.
    boxes
        At least one plane, each with its new box or None; all planes have the same axes.
    """
    planes = {plane.index: plane for plane, _ in boxes}
    kept = [
        (shape, owner)
        for shape, owner in zip(layer.data, owners_of(layer), strict=True)
        if owner != 0 and not (owner == number and _is_on_any(shape, planes))
    ]
    kept += [(_corners(box, plane), number) for plane, box in boxes if box is not None]
    mode, shapes = layer.mode, [np.asarray(shape) for shape, _ in kept]
    layer.selected_data = set()
    # A first box is there already; writing all again takes a tenth of a second. In a stack it is
    # necessary, see below.
    drawn = layer.ndim == 2 and len(shapes) == len(layer.data) > 0
    if not (drawn and all(map(np.allclose, shapes, layer.data))):
        _write_shapes(layer, shapes, line_width(boxes[0][0]))
    if kept:
        layer.features = {OBJECT: np.array([owner for _, owner in kept])}
    layer.feature_defaults = {OBJECT: 0}
    layer.mode = mode


def _write_shapes(layer: Shapes, shapes: Sequence[NDArray[Any]], width: float) -> None:
    """Replace all boxes of a layer."""
    if any(layer.z_index):
        # Drawn boxes are in front of others, and napari 0.9 then shows boxes of other planes.
        # Without boxes it forgets that; setting each one takes seconds in a large stack.
        layer.data = []
    layer.data = [(shape, "rectangle") for shape in shapes]
    if shapes:
        layer.edge_width = [width] * len(shapes)
        layer.face_color = "transparent"


def write_points(layer: Points, plane: Plane, number: int, prompt: Prompt) -> None:
    """Replace the points of an object on a plane; the mark just drawn is removed."""
    owners = np.array(owners_of(layer), int)
    here = np.array([is_on(at, plane) for at in layer.data], bool)
    stay = (owners != 0) & ~((owners == number) & here)
    marks = np.array([*prompt.positive, *prompt.negative], float).reshape(-1, 2) - EDGE
    signs = [True] * len(prompt.positive) + [False] * len(prompt.negative)
    sign = bool(layer.feature_defaults[SIGN].iloc[0]) if len(layer.feature_defaults) else True
    kept = np.asarray(layer.features[SIGN], bool)[stay] if len(owners) else np.zeros(0, bool)
    data = np.concatenate([np.asarray(layer.data)[stay], _in_layer(marks, plane)])
    layer.selected_data = set()
    layer.data = data
    layer.features = {
        OBJECT: np.concatenate([owners[stay], np.full(len(signs), number)]),
        SIGN: np.concatenate([kept, np.array(signs, bool)]),
    }
    layer.feature_defaults = {OBJECT: 0, SIGN: sign}
