"""Split uncertain pixels into pieces for review: cut along the outline, then merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.measures.size import count_pieces, label_pieces
from latentfm_core.types import Bool, Float32

Line = NDArray[np.float64]
Box = tuple[int, int, int, int]

CANDIDATES = 80
"""Largest number of pieces examined one by one; noise makes thousands."""
FRAGMENT = 0.05
"""A group with a smaller share of the largest stake joins a nearby group."""
SPECK = 0.01
"""Likewise: without a nearby group, one below this share is dropped."""
POINTS = 64
"""Number of pixels of a piece used to measure its distance to others."""


def length(line: Line) -> float:
    """Return the length of a line ``(V, 2)`` in pixels."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def smoothed(line: Line, vertices: float) -> Line:
    """Return a closed line ``(V, 2)`` as the running mean over so many of its vertices."""
    count = min(len(line) - 1, round(vertices))
    if count < 2:
        return line
    # The last vertex is the first one again.
    mean = ndimage.uniform_filter1d(line[:-1], count, axis=0, mode="wrap")
    return np.concatenate([mean, mean[:1]])


def cut(uncertain: Bool, outline: Sequence[Line], longest: float, gap: float) -> NDArray[np.int32]:
    """Return pieces of the uncertain pixels, ``(H, W)`` int32 with 0 outside.

    Pixels are together where gaps of at most `gap` pixels part them. What is longer than
    `longest` pixels is cut into stretches of the outline, unless there is none.

    Parameters
    ----------
    uncertain
        ``(H, W)`` bool.
    outline
        Closed lines ``(V, 2)`` of (row, column).
    longest, gap
        In pixels.
    """
    parts = _clusters(uncertain, gap)
    boxes = ndimage.find_objects(parts)
    long = [
        number
        for number, box in enumerate(boxes, start=1)
        if max(side.stop - side.start for side in box) > longest
    ]
    if not long or not outline:
        return parts
    rows, columns = np.nonzero(np.isin(parts, long))
    stretch = _stretches(np.stack([rows, columns], axis=1), outline, longest)
    # One number for each stretch in each part.
    keys = parts[rows, columns].astype(np.int64) * (int(stretch.max()) + 1) + stretch
    _, numbers = np.unique(keys, return_inverse=True)
    parts[rows, columns] = len(boxes) + 1 + numbers
    return parts


def merge(
    pieces: NDArray[np.int32],
    stakes: Float32,
    least: float,
    longest: float,
    reach: float,
    count: int,
) -> list[list[int]]:
    """Return groups of pieces, at most `count`, the weightiest first.

    As long as there are too many, the one with the least stake joins the nearest one, unless the
    two together are longer than `longest`; then it is left out. Fragments join others that are at
    most `reach` pixels away. Pieces smaller than `least` pixels are left out.

    Parameters
    ----------
    pieces
        ``(H, W)`` int32, 0 outside.
    stakes
        ``(H, W)``, summed over each piece.
    least, longest, reach
        In pixels.
    count
        The most groups.
    """
    # Noise makes thousands of specks: only candidates are examined one by one.
    areas = np.bincount(pieces.ravel())
    weights = np.bincount(pieces.ravel(), stakes.ravel())
    large = np.flatnonzero(areas >= least)
    kept = sorted(large[large > 0].tolist(), key=lambda piece: (-weights[piece], piece))
    boxes = ndimage.find_objects(pieces)
    groups = [
        _group(pieces, number, boxes[number - 1], weights[number]) for number in kept[:CANDIDATES]
    ]
    return [group.numbers for group in _merged(groups, longest, reach, count)]


def _merged(groups: list[_Group], longest: float, reach: float, count: int) -> list[_Group]:
    largest = max((group.stake for group in groups), default=0.0)
    apart = []
    while len(groups) > 1:
        smallest = min(groups, key=lambda group: group.stake)
        too_many = len(groups) > count
        if not too_many and smallest.stake >= FRAGMENT * largest:
            break
        groups.remove(smallest)
        near = min(groups, key=lambda group: group.distance(smallest))
        fits = _length(_around(near.box, smallest.box)) <= longest
        if fits and (too_many or near.distance(smallest) <= reach):
            near.take(smallest)
        elif not too_many and smallest.stake >= SPECK * largest:
            apart.append(smallest)
    return sorted(groups + apart, key=lambda group: (-group.stake, group.numbers[0]))


def closed(mask: Bool, reach: float) -> Bool:
    """Return a mask ``(H, W)`` whose parts are joined where at most `reach` pixels part them.

    A mask of one part is returned as it is.
    """
    if count_pieces(mask) < 2:
        return mask
    # Closing with a disc; outside the image is background.
    margin = 1 + math.ceil(reach / 2)
    framed = np.pad(mask, margin)
    near = ndimage.distance_transform_edt(~framed) <= reach / 2
    inside = ndimage.distance_transform_edt(near) > reach / 2
    return np.asarray((inside | framed)[margin:-margin, margin:-margin])


@dataclass(eq=False)
class _Group:
    numbers: list[int]
    box: Box
    stake: float
    points: NDArray[np.float64]

    def distance(self, other: _Group) -> float:
        # Here, because every window would otherwise load it when the dock is opened.
        from scipy.spatial.distance import cdist

        return float(cdist(self.points, other.points).min())

    def take(self, other: _Group) -> None:
        self.numbers += other.numbers
        self.box = _around(self.box, other.box)
        self.stake += other.stake
        self.points = np.concatenate([self.points, other.points])


def _group(
    pieces: NDArray[np.int32], number: int, window: tuple[slice, slice], stake: float
) -> _Group:
    rows, columns = window
    pixels = np.argwhere(pieces[window] == number) + np.array([rows.start, columns.start])
    points = pixels[:: math.ceil(len(pixels) / POINTS)].astype(np.float64)
    box = (rows.start, columns.start, rows.stop, columns.stop)
    return _Group([number], box, float(stake), points)


def _around(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _length(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def _clusters(uncertain: Bool, gap: float) -> NDArray[np.int32]:
    if not uncertain.any():
        return np.zeros(uncertain.shape, np.int32)
    close = ndimage.distance_transform_edt(~uncertain) <= gap / 2
    parts = np.where(uncertain, label_pieces(close)[0], 0)
    return np.asarray(parts, np.int32)


def _stretches(
    pixels: NDArray[np.intp], outline: Sequence[Line], longest: float
) -> NDArray[np.int64]:
    """Return, for each pixel, the number of the stretch of outline that is nearest."""
    numbers, offset = [], 0
    for line in outline:
        steps = np.hypot(*np.diff(line, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(1, math.ceil(along[-1] / longest))
        numbers.append(offset + np.minimum(count - 1, along * count // max(along[-1], 1e-9)))
        offset += count
    from scipy.spatial import cKDTree

    _, nearest = cKDTree(np.concatenate(outline)).query(pixels)
    return np.concatenate(numbers)[nearest].astype(np.int64)
