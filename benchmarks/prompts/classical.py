"""Methods without training: ellipse in the box, random walker and GrabCut.

References
----------
L. Grady: Random walks for image segmentation. IEEE PAMI 28 (2006).
C. Rother, V. Kolmogorov, A. Blake: GrabCut. ACM Transactions on Graphics 23 (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import random_walker
from skimage.transform import resize

from benchmarks.prompts.answers import Answer, PromptUse
from latentfm_core.errors import ConfigError
from latentfm_core.images.read import to_rgb
from latentfm_core.prompts import Box, Point, Prompt
from latentfm_core.prompts.maps import POINT_RADIUS
from latentfm_core.types import Bool, Float32, ImageInput

UInt8 = NDArray[np.uint8]

FOREGROUND, BACKGROUND = 1, 2
"""Labels of seeds; 0 is undecided."""

CORE = 0.5
"""Axes of the ellipse of certain foreground in a box, as a share of those of the box."""

LONGEST = 256
"""Longest side in pixels at which images are solved; larger ones are reduced to it."""

GRABCUT_ITERATIONS = 5

NEAR = 1 / 6
"""Radius around a click that GrabCut first takes for foreground, as a share of the longest side."""


def ellipse(box: Box, shape: tuple[int, int], scale: float = 1.0) -> Bool:
    """Return the ellipse ``(H, W)`` inscribed in a box, with its axes times `scale`."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    top, left, bottom, right = box
    height, width = max(1.0, scale * (bottom - top)), max(1.0, scale * (right - left))
    down = (rows + 0.5 - (top + bottom) / 2) / (height / 2)
    across = (columns + 0.5 - (left + right) / 2) / (width / 2)
    return np.asarray(down**2 + across**2 <= 1)


def seeds(prompt: Prompt, shape: tuple[int, int]) -> UInt8:
    """Return the certain label of each pixel ``(H, W)`` from a prompt.

    Outside a box all is background and in its middle (`CORE`) all is foreground; without a box
    the border of the image is background. Points are discs as large as a model sees them.
    """
    found = np.zeros(shape, np.uint8)
    if prompt.box is None:
        found[[0, -1]] = BACKGROUND
        found[:, [0, -1]] = BACKGROUND
    else:
        found[~_inside(prompt.box, shape)] = BACKGROUND
        found[ellipse(prompt.box, shape, CORE)] = FOREGROUND
    for label, points in ((FOREGROUND, prompt.positive), (BACKGROUND, prompt.negative)):
        found[_discs(points, shape, POINT_RADIUS)] = label
    return found


def _inside(box: Box, shape: tuple[int, int]) -> Bool:
    inside = np.zeros(shape, np.bool_)
    top, left, bottom, right = (round(value) for value in box)
    inside[max(0, top) : max(top + 1, bottom), max(0, left) : max(left + 1, right)] = True
    return inside


def _discs(points: Iterable[Point], shape: tuple[int, int], radius: float) -> Bool:
    """Return discs around points; `radius` is a share of the longest side."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    reach = max(1.0, radius * max(shape))
    found = np.zeros(shape, np.bool_)
    for row, column in points:
        found |= (rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2 <= reach**2
    return found


class _Deterministic:
    stochastic = False

    def reseed(self, seed: int) -> None:
        """Do nothing: the answers do not depend on a seed."""


class EllipseInBox(_Deterministic):
    """The ellipse inscribed in the box, independent of the image."""

    label = "ellipse in the box"
    uses: frozenset[PromptUse] = frozenset({"box"})

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Return the ellipse."""
        if prompt is None or prompt.box is None:
            raise ConfigError("The ellipse needs a box.")
        rows, columns = image.pixels.shape[:2]
        return _single(ellipse(prompt.box, (rows, columns)))


class RandomWalker(_Deterministic):
    """`skimage.segmentation.random_walker` from the seeds of a prompt."""

    label = "random walker"
    uses: frozenset[PromptUse] = frozenset({"box", "corrected_box", "clicks"})

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Return the pixels that are more likely to reach foreground than background seeds."""
        if prompt is None:
            raise ConfigError("The random walker needs a prompt.")
        return _solved_small(image, prompt, lambda rgb, said: _walk(rgb, seeds(said, _shape(rgb))))


def _walk(rgb: Float32, labels: UInt8) -> Bool:
    if not ((labels == FOREGROUND).any() and (labels == BACKGROUND).any() and (labels == 0).any()):
        return np.asarray(labels != BACKGROUND)
    # Use only the undecided part and its border.
    rows, columns = (np.flatnonzero((labels != BACKGROUND).any(axis=axis)) for axis in (1, 0))
    part = tuple(slice(max(0, int(found[0]) - 1), int(found[-1]) + 2) for found in (rows, columns))
    solved = random_walker(
        rgb[part],
        labels[part].astype(np.int32),
        # A direct solver needs no tolerance; at this size it is also the fastest.
        mode="bf",
        channel_axis=-1,
    )
    mask = np.zeros(labels.shape, np.bool_)
    mask[part] = solved == FOREGROUND
    return mask


class GrabCut(_Deterministic):
    """OpenCV's GrabCut from the seeds of a prompt.

    Raises
    ------
    ConfigError
        If OpenCV is not installed.
    """

    label = "GrabCut"
    uses: frozenset[PromptUse] = frozenset({"box", "corrected_box", "clicks"})

    def __init__(self) -> None:
        try:
            import cv2
        except ModuleNotFoundError:
            raise ConfigError(
                'The row grabcut needs OpenCV. Install it with: pip install -e ".[bench]"'
            ) from None
        self._cv2 = cv2

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Return the foreground after `GRABCUT_ITERATIONS` iterations."""
        if prompt is None:
            raise ConfigError("GrabCut needs a prompt.")
        return _solved_small(image, prompt, self._cut)

    def _cut(self, rgb: Float32, prompt: Prompt) -> Bool:
        cv2 = self._cv2
        labels = self._labels(prompt, _shape(rgb))
        foreground, background = self._kinds()
        if not np.isin(labels, foreground).any() or not np.isin(labels, background).any():
            return np.isin(labels, foreground)
        # Its mixtures start from k-means, which draws from OpenCV's own generator.
        cv2.setRNGSeed(0)
        pixels = np.rint(np.clip(rgb[..., ::-1], 0, 1) * 255).astype(np.uint8)
        mixtures = [np.zeros((1, 65)) for _ in range(2)]
        cv2.grabCut(
            np.ascontiguousarray(pixels),
            labels,
            None,
            *mixtures,
            GRABCUT_ITERATIONS,
            cv2.GC_INIT_WITH_MASK,
        )
        return np.isin(labels, foreground)

    def _kinds(self) -> tuple[tuple[int, int], tuple[int, int]]:
        cv2 = self._cv2
        return (cv2.GC_FGD, cv2.GC_PR_FGD), (cv2.GC_BGD, cv2.GC_PR_BGD)

    def _labels(self, prompt: Prompt, shape: tuple[int, int]) -> UInt8:
        cv2 = self._cv2
        labels = np.full(shape, cv2.GC_PR_BGD, np.uint8)
        if prompt.box is None:
            labels[_discs(prompt.positive, shape, NEAR)] = cv2.GC_PR_FGD
        else:
            labels[_inside(prompt.box, shape)] = cv2.GC_PR_FGD
        # The middle of a box is certain, as for the random walker: without it GrabCut finds nothing
        # where object and surroundings look similar.
        sure = seeds(prompt, shape)
        labels[sure == BACKGROUND] = cv2.GC_BGD
        labels[sure == FOREGROUND] = cv2.GC_FGD
        return labels


def _solved_small(
    image: ImageInput, prompt: Prompt, solve: Callable[[Float32, Prompt], Bool]
) -> Answer:
    """Reduce image and prompt to `LONGEST`, solve, and resize the mask to the image."""
    rgb = to_rgb(image)
    shape = _shape(rgb)
    scale = min(1.0, LONGEST / max(shape))
    small = (max(2, round(shape[0] * scale)), max(2, round(shape[1] * scale)))
    reduced = _scaled(prompt, small[0] / shape[0], small[1] / shape[1])
    mask = solve(_resized(rgb, small), reduced)
    return _single(np.asarray(_resized(mask.astype(np.float32), shape) >= 0.5))


def _shape(rgb: Float32) -> tuple[int, int]:
    return rgb.shape[0], rgb.shape[1]


def _scaled(prompt: Prompt, down: float, across: float) -> Prompt:
    box = prompt.box
    if box is not None:
        box = (box[0] * down, box[1] * across, box[2] * down, box[3] * across)
    positive, negative = (
        tuple((row * down, column * across) for row, column in points)
        for points in (prompt.positive, prompt.negative)
    )
    return Prompt(box, positive, negative)


def _resized(values: Float32, shape: tuple[int, int]) -> Float32:
    if values.shape[:2] == shape:
        return values
    shrinks = shape[0] < values.shape[0] or shape[1] < values.shape[1]
    out: Float32 = resize(values, shape, order=1, anti_aliasing=shrinks, mode="edge")
    return out


def _single(mask: Bool) -> Answer:
    return Answer(mask, mask[None])
