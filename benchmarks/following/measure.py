"""Dice of one object on every frame of a sequence, from several kinds of prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.following import follow_object
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.types import ImageInput

Bool = NDArray[np.bool_]
ENOUGH = 0.7
"""Dice below which the simulated user draws another box."""
FIRST, AGAIN, EVERY, NONE = (
    "box on the first frame, followed",
    f"another box where Dice is below {ENOUGH}, followed from there",
    "box on every frame",
    "no prompt",
)


@dataclass(frozen=True)
class Row:
    """Figures of a sequence.

    Attributes
    ----------
    dice
        Of every frame but the first.
    boxes
        Number of boxes that were drawn.
    seconds
        For each frame.
    missed
        Frames on which nothing was found.
    """

    dice: tuple[float, ...]
    boxes: int
    seconds: float
    missed: int


@dataclass(frozen=True)
class Video:
    """Frames of a video sequence with their expert masks.

    Attributes
    ----------
    images, masks
        In the order of time.
    """

    images: Sequence[ImageInput]
    masks: Sequence[Bool]

    def overlap(self) -> list[float]:
        """Return the Dice of the expert masks of each frame and the one before."""
        pairs = zip(self.masks[1:], self.masks[:-1], strict=True)
        return [float(dice(after, before)) for after, before in pairs]

    def box(self, frame: int) -> Prompt:
        """Return the box around the expert mask of a frame."""
        return Prompt(box=extent(self.masks[frame]))


def measure(segmenter: Segmenter, sequence: Video, settings: SamplingConfig) -> dict[str, Row]:
    """Return the figures of each kind of prompt."""
    frames = range(len(sequence.images))
    every = {frame: sequence.box(frame) for frame in frames}
    return {
        FIRST: _followed(segmenter, sequence, settings, repeat=False),
        AGAIN: _followed(segmenter, sequence, settings, repeat=True),
        EVERY: _separate(segmenter, sequence, settings, every),
        NONE: _separate(segmenter, sequence, settings, {}),
    }


def _separate(
    segmenter: Segmenter,
    sequence: Video,
    settings: SamplingConfig,
    prompts: dict[int, Prompt],
) -> Row:
    begin = time.perf_counter()
    masks = []
    for frame, image in enumerate(sequence.images):
        samples = segmenter.sample(image, settings, prompt=prompts.get(frame))
        masks.append(segmenter.summarise(samples, settings).mean_mask > 0)
    seconds = (time.perf_counter() - begin) / len(masks)
    return _row(sequence, masks, len(prompts), seconds)


def _followed(segmenter: Segmenter, sequence: Video, settings: SamplingConfig, repeat: bool) -> Row:
    masks: list[Bool] = [np.zeros_like(mask) for mask in sequence.masks]
    start, boxes, spent, visited = 0, 0, 0.0, 0
    while start < len(masks):
        begin = time.perf_counter()
        found = follow_object(segmenter, sequence.images[start:], 0, sequence.box(start), settings)
        spent += time.perf_counter() - begin
        visited += len(found.found) + len(found.missed)
        boxes += 1
        for offset in range(len(found.stack)):
            masks[start + offset] = found.stack.summary_of(offset).mean_mask > 0
        failed = [
            frame
            for frame in range(start + 1, len(masks))
            if dice(masks[frame], sequence.masks[frame]) < ENOUGH
        ]
        start = failed[0] if repeat and failed else len(masks)
    return _row(sequence, masks, boxes, spent / visited)


def _row(sequence: Video, masks: Sequence[Bool], boxes: int, seconds: float) -> Row:
    pairs = list(zip(masks, sequence.masks, strict=True))[1:]
    missed = sum(not mask.any() for mask, _ in pairs)
    return Row(tuple(float(dice(*pair)) for pair in pairs), boxes, seconds, missed)
