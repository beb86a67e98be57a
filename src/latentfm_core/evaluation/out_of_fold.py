"""Out-of-fold samples: each image from the one model of a cross-validation that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentfm_core.config import SamplingConfig
from latentfm_core.evaluation.evaluate import Case, Draw
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import SampleSet


@dataclass(frozen=True)
class OutOfFold:
    """Draws all samples of an image with the member of an ensemble that it validated.

    The other members were trained on the image.
    """

    fold_of: Mapping[str, int]
    draw: Draw

    def __call__(
        self, segmenter: Segmenter, cases: Sequence[Case], settings: SamplingConfig
    ) -> list[SampleSet]:
        """Return the samples of one member for cases of one image."""
        member = segmenter.members[self.fold_of[cases[0].image.name]]
        return self.draw(member, cases, settings)
