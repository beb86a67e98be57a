"""Align samples with the box that was drawn around their object.

The network treats a box as a hint. The resulting outline often ends slightly inside or outside the
box, although people draw boxes that touch their object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentfm_core.images.canvas import box_on_canvas
from latentfm_core.inference.pieces import large_pieces
from latentfm_core.prompts.field import box_iou
from latentfm_core.prompts.prompt import Box
from latentfm_core.types import Float32, Geometry
from latentfm_core.uncertainty.summary import SAMPLE_THRESHOLD

TIGHT, LOOSE = 0.03, 0.06
"""Mean gap between the sides of a box and the outline, as a share of the sides. Up to the first the
box counts as tight; from the second on as loose, and says nothing about the outline."""

SAME_OBJECT = 0.4
"""Lowest IoU of the box and the bounding box of a sample that is aligned."""

Edges = NDArray[np.float64]
"""``(4,)``: top, left, bottom and right."""

OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])
"""Direction of each edge away from the object."""


def align_to_box(probabilities: Float32, box: Box, geometry: Geometry, share: float) -> Float32:
    """Stretch each sample so that its extent comes nearer to the box of its prompt.

    Samples that are empty or lie elsewhere stay as they are, and so do those of a loose box.

    Parameters
    ----------
    probabilities
        ``(N, S, S)`` in [0, 1] on the canvas.
    box
        In pixels of the image.
    share
        Share of the way to a tight box, in [0, 1].
    """
    top, left, rows, columns = geometry.box
    content = np.s_[top : top + rows, left : left + columns]
    wanted = np.array(box_on_canvas(box, geometry)) - (top, left, top, left)
    aligned = probabilities.copy()
    for index, sample in enumerate(probabilities):
        aligned[index][content] = aligned_map(sample[content], wanted, share)
    return aligned


def aligned_map(values: Float32, box: Edges, share: float) -> Float32:
    """Return one map ``(H, W)``, stretched as `align_to_box` does; `box` in its pixels."""
    found = _extent(values)
    if found is None or box_iou(found.tolist(), box.tolist()) < SAME_OBJECT:
        return values
    sides = np.tile(box[2:] - box[:2], 2)
    gap = float(np.mean((box - found) * OUTWARD / sides))
    trust = float(np.clip((LOOSE - gap) / (LOOSE - TIGHT), 0, 1))
    if share * trust == 0:
        return values
    target = found + share * trust * (box - found)
    for axis in (0, 1):
        values = _stretched(values, axis, found[axis::2], target[axis::2])
    return values


def _extent(values: Float32) -> Edges | None:
    """Return the edges of the outline to a fraction of a pixel; None without foreground.

    Specks next to the object do not count.
    """
    pieces, large = large_pieces(values >= SAMPLE_THRESHOLD)
    if len(large) < pieces.max(initial=0):
        values = np.where((pieces == 0) | np.isin(pieces, large), values, 0)
    ends = [_ends(values.max(axis=axis)) for axis in (1, 0)]
    if ends[0] is None or ends[1] is None:
        return None
    (top, bottom), (left, right) = ends[0], ends[1]
    return np.array([top, left, bottom, right])


def _ends(profile: Float32) -> tuple[float, float] | None:
    """Return where the largest values along an axis cross the threshold."""
    inside = np.flatnonzero(profile >= SAMPLE_THRESHOLD)
    if not inside.size:
        return None
    first, last = int(inside[0]), int(inside[-1])
    start = first + 0.5 - _crossing(profile, first, first - 1)
    stop = last + 0.5 + _crossing(profile, last, last + 1)
    return start, stop


def _crossing(profile: Float32, inside: int, outside: int) -> float:
    """Return the distance in pixels from the centre of the last pixel inside to the threshold."""
    if not 0 <= outside < len(profile):
        return 0.5
    high, low = float(profile[inside]), float(profile[outside])
    return (high - SAMPLE_THRESHOLD) / (high - low)


def _stretched(values: Float32, axis: int, found: Edges, target: Edges) -> Float32:
    """Resample one axis, linearly, so that the interval `found` moves to `target`."""
    length = values.shape[axis]
    scale = (found[1] - found[0]) / max(float(target[1] - target[0]), 1e-6)
    places = found[0] + (np.arange(length) + 0.5 - target[0]) * scale - 0.5
    places = np.clip(places, 0, length - 1)
    low = places.astype(np.intp)
    high = np.minimum(low + 1, length - 1)
    weight = (places - low).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight
    lower, upper = values.take(low, axis=axis), values.take(high, axis=axis)
    mixed: Float32 = lower + (upper - lower) * weight
    return mixed
