"""Evaluate prompted samples with a simulated annotator who marks objects."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import counted, name_some
from latentfm_core.prompts.annotator import corrected, first_prompt, largest_object
from latentfm_core.types import SampleSet
from latentfm_core.vocabulary import CORRECTIONS, MOST_OBJECTS, PromptKind

logger = logging.getLogger(__name__)


def chosen_objects(
    numbers: Iterable[int], name: str, most: int = MOST_OBJECTS, seed: int = 0
) -> list[int]:
    """Return the numbers of the objects of an image to mark, sorted: all, or `most` of them.

    The choice depends only on the seed, the name of the image and its numbers.
    """
    every = sorted(numbers)
    if len(every) <= most:
        return every
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    return sorted(int(number) for number in rng.choice(every, most, replace=False))


def prompted_cases(
    cases: Iterable[Case], most: int = MOST_OBJECTS, seed: int = 0
) -> Iterator[Case]:
    """Yield a case for each object to mark; skip images without an object.

    These are the numbered objects that `chosen_objects` returns, or else the largest object. A
    warning at the end names the images without one. Of several raters, those with empty masks are
    skipped, and the masks of all others count.
    """
    without: list[str] = []
    for case in cases:
        if case.numbered is not None and case.numbered.any():
            found = (int(number) for number in np.unique(case.numbered) if number)
            for number in chosen_objects(found, case.image.name, most, seed):
                own = np.asarray(case.numbered == number)[None]
                yield replace(case, references=own, number=number)
            continue
        drawn = [mask for mask in case.references if mask.any()]
        if len(drawn) == 1:
            drawn = [mask for mask in map(largest_object, drawn) if mask is not None]
        if drawn:
            yield replace(case, references=np.stack(drawn))
        else:
            without.append(case.image.name)
    if without:
        logger.warning(
            "%s left out, because there is nothing to prompt: %s",
            counted(
                len(without),
                "image without a marked object is",
                "images without a marked object are",
            ),
            name_some(without),
        )


@dataclass(frozen=True)
class Annotator:
    """Simulated annotator who knows the first reference.

    Attributes
    ----------
    corrections
        With kind ``"corrections"``, number of points added one by one in the middle of the
        largest error of the mean mask.
    """

    kind: PromptKind
    corrections: int = CORRECTIONS

    def __call__(
        self, segmenter: Segmenter, cases: Sequence[Case], settings: SamplingConfig
    ) -> list[SampleSet]:
        """Return the samples of each case after its last prompt; the cases are of one image."""
        image = cases[0].image
        targets = [np.asarray(case.references[0] > 0) for case in cases]
        first = [first_prompt(target, self.kind) for target in targets]
        prompts = [prompt for prompt in first if prompt is not None]
        if len(prompts) < len(cases):
            return [segmenter.sample(case.image, settings) for case in cases]

        def draw() -> list[SampleSet]:
            if len(prompts) == 1:
                return [segmenter.sample(image, settings, prompt=prompts[0])]
            return segmenter.sample_objects(image, prompts, settings)

        drawn = draw()
        for _ in range(self.corrections if self.kind == "corrections" else 0):
            maps = (segmenter.summarise(samples, settings) for samples in drawn)
            answers = [np.asarray(summary.mean_mask > 0) for summary in maps]
            prompts = [corrected(*each) for each in zip(prompts, answers, targets, strict=True)]
            drawn = draw()
        return drawn
