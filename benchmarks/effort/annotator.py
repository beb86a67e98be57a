"""A simulated annotator with a fixed stopping rule."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import corrected, first_prompt
from latentfm_core.types import Bool, ImageInput

GOOD_ENOUGH = 0.90
MAX_CLICKS = 10


def mean_mask(segmenter: Segmenter, image: ImageInput, prompt: Prompt | None = None) -> Bool:
    """Return the mean mask ``(H, W)`` of samples with the settings of the model's card."""
    samples = segmenter.sample(image, prompt=prompt)
    return np.asarray(segmenter.summarise(samples).mean_mask > 0)


@dataclass(frozen=True)
class Effort:
    """The work on one image.

    Attributes
    ----------
    name
        Of the image.
    clicks
        Clicks until the mean mask was good enough; `MAX_CLICKS` if it never was.
    first
        Dice without a prompt.
    last
        Dice of the last answer.
    seconds
        Computing time of the answers.
    learned
        Images that the model in use had learned from; 0 for the original one.
    """

    name: str
    clicks: int
    first: float
    last: float
    seconds: float
    learned: int = 0

    @property
    def reached(self) -> bool:
        """Whether an answer was good enough."""
        return self.last >= GOOD_ENOUGH

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def annotate(
    segmenter: Segmenter, image: ImageInput, target: Bool, learned: int
) -> tuple[Effort, Bool]:
    """Work on one image; return the effort and the accepted mask ``(H, W)``.

    The annotator looks at the answer without a prompt. If its Dice is below `GOOD_ENOUGH`, the
    first click is in the middle of the object, and each further one in the middle of the
    largest error. An answer that is good enough is accepted as it is. If none is after
    `MAX_CLICKS` clicks, the expert's mask is accepted, as if drawn by hand.
    """
    start = time.process_time()
    answer = mean_mask(segmenter, image)
    first = last = dice(answer, target)
    clicks = 0
    prompt = first_prompt(target, "point")
    while last < GOOD_ENOUGH and clicks < MAX_CLICKS and prompt is not None:
        answer = mean_mask(segmenter, image, prompt)
        last = dice(answer, target)
        clicks += 1
        prompt = corrected(prompt, answer, target)
    seconds = time.process_time() - start
    effort = Effort(image.name, clicks, first, last, seconds, learned)
    return effort, answer if effort.reached else target
