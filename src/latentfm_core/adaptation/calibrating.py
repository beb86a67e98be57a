"""Calibrate an adapted model with the held-out tests that it is compared on."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Literal, get_args

import numpy as np

from latentfm_core.config import Config
from latentfm_core.evaluation.evidence import Evidence
from latentfm_core.metrics.overlap import dice
from latentfm_core.types import Bool, SampleSet, Summary
from latentfm_core.uncertainty.calibration import Calibration
from latentfm_core.uncertainty.expected_dice import QualityMap
from latentfm_core.uncertainty.summary import known_agreement
from latentfm_core.vocabulary import PromptGroup

Prompted = Literal["box", "point"]
PROMPTED: tuple[Prompted, ...] = get_args(Prompted)
PART = "held-out tests of a work list"
_BOUND = 20.0
_EDGE = 1e-3


class HeldOutCalibration:
    """Evidence from samples that an adapted model drew of images before it learned from them.

    They come from earlier versions of the model, with fewer images: confidence and expected
    Dice of the present one tend to be too low rather than too high.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Forget all tests."""
        self._evidence: dict[PromptGroup, Evidence] = {}
        self._pairs: defaultdict[PromptGroup, list[tuple[float, float]]] = defaultdict(list)

    def add(self, group: PromptGroup, samples: SampleSet, summary: Summary, target: Bool) -> None:
        """Add the samples of one image.

        Parameters
        ----------
        target
            ``(H, W)`` bool, what is marked.
        """
        evidence = self._evidence.setdefault(group, Evidence(self._config))
        evidence.add(samples, target[None], None)
        found = np.asarray(summary.mean_mask > 0)
        agreement = known_agreement(summary)
        if agreement is not None:
            self._pairs[group].append((agreement, dice(found, target)))

    def fit(self, group: PromptGroup, fewest: int) -> Calibration | None:
        """Return the calibration for a kind of prompt; None with fewer than `fewest` images."""
        evidence = self._evidence.get(group)
        if evidence is None or evidence.n_images < fewest:
            return None
        fitted = evidence.fit(self._config.sampling, PART)
        if fitted.quality is not None:
            return fitted
        return fitted.model_copy(update={"quality": shifted_quality(self._pairs[group])})


def shifted_quality(pairs: list[tuple[float, float]]) -> QualityMap | None:
    """Return a map from agreement to Dice with one parameter, for few images.

    Its slope is 1, and its intercept makes the mean expected Dice equal to the mean Dice.

    Parameters
    ----------
    pairs
        Agreement of the samples and Dice of the mean mask of each image.
    """
    if not pairs:
        return None
    wanted = sum(measured for _, measured in pairs) / len(pairs)
    scores = [_logit(agreement) for agreement, _ in pairs]
    low, high = -_BOUND, _BOUND
    for _ in range(40):
        middle = (low + high) / 2
        mean = sum(1 / (1 + math.exp(-(middle + score))) for score in scores) / len(scores)
        low, high = (middle, high) if mean < wanted else (low, middle)
    return QualityMap(intercept=(low + high) / 2, slope=1.0)


def _logit(share: float) -> float:
    inner = min(1 - _EDGE, max(_EDGE, share))
    return math.log(inner / (1 - inner))
