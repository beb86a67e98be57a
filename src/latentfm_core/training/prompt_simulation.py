"""Simulate an annotator's prompts from expert masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.prompts.annotator import centre_of_largest
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.maps import BOX, NEGATIVE, POSITIVE, ROUGH_MASK, draw_box, draw_point
from latentfm_core.types import Bool, Float32

KINDS = ("box", "points", "box_points", "strokes", "rough_mask")
CHANCES = (0.4, 0.27, 0.15, 0.09, 0.09)

MAX_POINTS = 3

CORRECTED = 0.35
"""Share of the prompted images that also get corrections of a sample."""


def simulate_prompts(
    shown: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    prompted: Sequence[bool] | NDArray[np.bool_],
    sources: Iterable[np.random.Generator],
) -> tuple[Float32, NDArray[np.bool_]]:
    """Return the prompts ``(B, 4, S, S)`` of a batch, and ``(B,)`` bool, which to correct later.

    Parameters
    ----------
    shown
        ``(B, S, S)`` bool, the objects that the prompts are made from.
    absent
        ``(B,)`` bool, whether the mask to learn is empty: the object has disappeared, see
        `simulate_prompt`.
    prompted
        ``(B,)``, whether there is a prompt.
    """
    prompts = np.zeros((len(shown), 4, *shown.shape[1:]), np.float32)
    corrected = np.zeros(len(shown), bool)
    for row, rng in zip(range(len(shown)), sources, strict=False):
        if prompted[row]:
            prompts[row] = simulate_prompt(shown[row], rng, absent=bool(absent[row]))
            corrected[row] = rng.random() < CORRECTED and not absent[row]
    return prompts, corrected


def simulate_prompt(shown: Bool, rng: np.random.Generator, *, absent: bool = False) -> Float32:
    """Return prompt maps ``(4, S, S)`` for an object.

    Parameters
    ----------
    shown
        ``(S, S)`` bool, the object; not empty.
    absent
        Whether the object exists in another plane only: then the prompt is its rough mask,
        because users neither draw a box nor click without an object.
    """
    side = len(shown)
    maps = np.zeros((4, side, side), np.float32)
    kind = rng.choice(KINDS, p=CHANCES)
    if absent:
        maps[ROUGH_MASK] = np.where(_rough(shown, rng), 1, -1)
        return maps
    if kind in ("box", "box_points"):
        _jittered_box(maps[BOX], shown, rng)
    if kind in ("points", "box_points"):
        _points(maps, shown, rng)
    if kind == "strokes":
        _strokes(maps, shown, rng)
    if kind == "rough_mask":
        maps[ROUGH_MASK] = np.where(_rough(shown, rng), 1, -1)
        if rng.random() < 0.5:
            _points(maps, shown, rng)
    return maps


def correct(maps: Float32, sample: Bool, target: Bool, rng: np.random.Generator) -> None:
    """Add corrections at errors of a sample to prompt maps, in place.

    Parameters
    ----------
    maps
        ``(4, S, S)``.
    sample, target
        ``(S, S)`` bool, the model's sample and the target.
    """
    error = sample != target
    for _ in range(int(rng.integers(1, MAX_POINTS + 1))):
        point = centre_of_largest(error, rng)
        if point is None:
            return
        channel = POSITIVE if target[point] else NEGATIVE
        draw_point(maps[channel], (point[0] + 0.5, point[1] + 0.5))
        # Place the next correction elsewhere.
        top, left = (max(0, p - len(error) // 8) for p in point)
        error = error.copy()
        error[top : point[0] + len(error) // 8, left : point[1] + len(error) // 8] = False
    if rng.random() < 0.3 and sample.any():
        maps[ROUGH_MASK] = np.where(sample, 1, -1)


def _jittered_box(channel: NDArray[np.float32], shown: Bool, rng: np.random.Generator) -> None:
    shown_extent = extent(shown)
    if shown_extent is None:
        return
    top, left, bottom, right = shown_extent
    height, width = bottom - top, right - left
    sigma = 0.03 if rng.random() < 0.6 else 0.1
    shift = rng.normal(0, sigma, 4) * (height, width, height, width)
    draw_box(channel, (top + shift[0], left + shift[1], bottom + shift[2], right + shift[3]))


def _points(maps: Float32, shown: Bool, rng: np.random.Generator) -> None:
    """Draw the first point near the middle, where people click, and others anywhere."""
    first = centre_of_largest(shown, rng if rng.random() < 0.7 else None)
    if first is not None:
        draw_point(maps[POSITIVE], (first[0] + 0.5, first[1] + 0.5))
    inside = np.argwhere(shown)
    near = ndimage.binary_dilation(shown, iterations=max(2, len(shown) // 16)) & ~shown
    outside = np.argwhere(near if rng.random() < 0.7 else ~shown)
    if rng.random() < 0.5:
        return
    for places, channel in ((inside, POSITIVE), (outside, NEGATIVE)):
        for _ in range(int(rng.integers(0, MAX_POINTS)) if len(places) else 0):
            row, column = places[rng.integers(len(places))]
            draw_point(maps[channel], (row + 0.5, column + 0.5))


def _strokes(maps: Float32, shown: Bool, rng: np.random.Generator) -> None:
    """Draw straight strokes between points of the object, and perhaps of its surroundings."""
    _stroke(maps[POSITIVE], shown, rng)
    if rng.random() < 0.5:
        ring = ndimage.binary_dilation(shown, iterations=max(3, len(shown) // 10))
        _stroke(maps[NEGATIVE], ring & ~shown, rng)


def _stroke(channel: NDArray[np.float32], region: Bool, rng: np.random.Generator) -> None:
    places = np.argwhere(region)
    if not len(places):
        return
    start, end = places[rng.integers(len(places), size=2)]
    steps = int(np.abs(end - start).max()) + 1
    line = np.rint(np.linspace(start, end, steps)).astype(np.intp)
    drawn = np.zeros_like(region)
    drawn[line[:, 0], line[:, 1]] = True
    width = int(rng.integers(1, max(2, len(region) // 48) + 1))
    drawn = ndimage.binary_dilation(drawn, iterations=width) & region
    channel[drawn] = 1


def _rough(shown: Bool, rng: np.random.Generator) -> Bool:
    """Return the object eroded, dilated, shifted or as its box's ellipse."""
    box = extent(shown)
    if box is None:
        return shown
    top, left, bottom, right = box
    reach = max(1, int(0.12 * max(bottom - top, right - left)))
    choice = rng.integers(4)
    if choice == 0:
        rough = ndimage.binary_erosion(shown, iterations=int(rng.integers(1, reach + 1)))
    elif choice == 1:
        rough = ndimage.binary_dilation(shown, iterations=int(rng.integers(1, reach + 1)))
    elif choice == 2:
        rough = np.roll(shown, rng.integers(-reach, reach + 1, 2), axis=(0, 1))
    else:
        rows, columns = np.ogrid[: len(shown), : len(shown)]
        down = (rows + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
        across = (columns + 0.5 - (left + right) / 2) / ((right - left) / 2)
        rough = down**2 + across**2 <= 1
    shown_extent: Bool = rough if rough.any() else shown
    return shown_extent
