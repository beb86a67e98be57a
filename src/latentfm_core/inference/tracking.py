"""Find the object of one plane of a stack in the next one."""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
from scipy import ndimage

from latentfm_core.config import PromptConfig, SamplingConfig
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.prompt import Box
from latentfm_core.types import Bool, ImageInput, SampleSet, Summary

GROWTH = 1.3
"""Sides of the box for the next plane, in sides of the box around the last mask."""

PRESENT = 0.5
"""Share of the samples that must contain the object."""

MIN_AREA = 0.1
"""Minimum area of the object in a sample, in areas of the last mask."""

MARGIN = 1.1
"""Sides of the box around a piece that was found without a prompt, in sides of the piece."""

MAX_SHIFT = 3.0
"""Maximum shift of the centre between two planes, in longer sides of the last box."""

MAX_RATIO = 6.0
"""Largest ratio of the areas in two planes between which the object has moved."""


def samples_of_object(
    segmenter: Segmenter, image: ImageInput, last: Bool, settings: SamplingConfig
) -> Generator[Progress, None, SampleSet | None]:
    """Draw samples of an object, first near its last mask, then where it may have moved.

    A rough mask on background gives an empty result, a box always a non-empty one. The rough
    mask therefore decides whether the object is still there, and the box outlines it.
    """
    # The box is a guess, wider than the object.
    quick = PromptConfig(box_alignment=0)
    settings = settings.model_copy(update={"steps": segmenter.resolved(settings).steps})
    few = quick.first(settings)
    check = yield from segmenter.sample_steps(image, few, prompt=Prompt(mask=last))
    around = extent(last)
    if around is not None and is_present(segmenter.summarise(check, few), last):
        box = grown(around, GROWTH)
    else:
        whole = yield from segmenter.sample_steps(image, settings)
        found = segmenter.summarise(whole, settings).mean_mask > 0
        moved = box_after_move(found, last)
        if moved is None:
            return None
        box = moved
    prompt = Prompt(box=box)
    return (yield from segmenter.sample_steps(image, settings, prompt=prompt, prompting=quick))


def is_present(summary: Summary, last: Bool) -> bool:
    """Return whether enough samples contain an object that had the mask `last`."""
    least = MIN_AREA * np.count_nonzero(last)
    areas = np.count_nonzero(summary.sample_masks, axis=(-2, -1))
    return float((areas >= least).mean()) >= PRESENT and bool(summary.mean_mask.any())


def grown(box: Box, factor: float) -> Box:
    """Return a box with the same centre and `factor` times the sides."""
    top, left, bottom, right = box
    rows, columns = (factor - 1) * (bottom - top) / 2, (factor - 1) * (right - left) / 2
    return top - rows, left - columns, bottom + rows, right + columns


def box_after_move(found: Bool, last: Bool) -> Box | None:
    """Return a box around the piece of a mask that an object most probably is.

    That is the piece nearest to the last mask; None if all are too far away, or have too different
    an area.

    Parameters
    ----------
    found
        ``(H, W)``, what the model finds without a prompt.
    last
        ``(H, W)``, the object in the plane before; not empty.
    """
    before = extent(last)
    if before is None:
        return None
    side = max(before[2] - before[0], before[3] - before[1])
    centre, area = np.array(ndimage.center_of_mass(last)), np.count_nonzero(last)
    pieces, count = ndimage.label(found)
    best, nearest = None, MAX_SHIFT * side
    for number in range(1, count + 1):
        piece = pieces == number
        ratio = abs(math.log(np.count_nonzero(piece) / area))
        away = float(np.linalg.norm(np.array(ndimage.center_of_mass(piece)) - centre))
        if ratio <= math.log(MAX_RATIO) and away <= nearest:
            best, nearest = piece, away
    around = None if best is None else extent(best)
    return None if around is None else grown(around, MARGIN)
