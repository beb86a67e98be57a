"""Evaluation of prompted samples: a simulated annotator points at the largest object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts.annotator import corrected, first_prompt, largest_object
from latentfm_core.types import CORRECTIONS, PromptKind, SampleSet


def prompted_cases(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the cases with their largest object alone; images without an object are left out.

    Of several raters, those who drew nothing are left out, and what each of the others drew
    counts.
    """
    for case in cases:
        drawn = [mask for mask in case.references if mask.any()]
        if len(drawn) == 1:
            drawn = [mask for mask in map(largest_object, drawn) if mask is not None]
        if drawn:
            yield replace(case, references=np.stack(drawn))


@dataclass(frozen=True)
class Annotator:
    """Draws samples as an annotator would who knows the first reference.

    Attributes
    ----------
    kind
        How the object is pointed at.
    corrections
        With kind ``"corrections"``, points added one after the other in the middle of the
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
