"""Evaluate prompted samples with a simulated annotator who marks the largest object."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.images.read import name_some
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts.annotator import corrected, first_prompt, largest_object
from latentfm_core.types import CORRECTIONS, PromptKind, SampleSet

logger = logging.getLogger(__name__)


def prompted_cases(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the cases reduced to their largest object; skip images without an object.

    A warning at the end names these images. Of several raters, those with empty masks are skipped,
    and the masks of all others count.
    """
    without: list[str] = []
    for case in cases:
        drawn = [mask for mask in case.references if mask.any()]
        if len(drawn) == 1:
            drawn = [mask for mask in map(largest_object, drawn) if mask is not None]
        if drawn:
            yield replace(case, references=np.stack(drawn))
        else:
            without.append(case.image.name)
    if without:
        logger.warning(
            "%d images without a marked object are left out, because there is nothing to "
            "prompt: %s",
            len(without),
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

    def __call__(self, segmenter: Segmenter, case: Case, settings: SamplingConfig) -> SampleSet:
        """Return the samples after the last prompt."""
        target = np.asarray(case.references[0] > 0)
        prompt = first_prompt(target, self.kind)
        samples = segmenter.sample(case.image, settings, prompt=prompt)
        rounds = self.corrections if self.kind == "corrections" and prompt is not None else 0
        for _ in range(rounds):
            if prompt is None:
                break
            answer = np.asarray(segmenter.summarise(samples, settings).mean_mask > 0)
            prompt = corrected(prompt, answer, target)
            samples = segmenter.sample(case.image, settings, prompt=prompt)
        return samples
