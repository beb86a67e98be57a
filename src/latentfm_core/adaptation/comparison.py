"""Decide whether an adapted model is used, from tests on images that it has not learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from latentfm_core.config import AdaptationConfig, Fraction, PositiveInt, Settings
from latentfm_core.evaluation.standard_error import SIGNIFICANT, standard_error

ENOUGH = 0.9
"""Dice above which one model is not better than another. A mask that was accepted unchanged is the
output of one of the models, and agrees with that better than with any expert."""


class HeldOutTest(Settings):
    """Dice of both models on an accepted image before the adapted model learned from it.

    Attributes
    ----------
    image
        Name of the image.
    learned
        Number of images that the adapted model had learned from.
    present, adapted
        Dice of the mean masks without a prompt, with all that is marked.
    present_box, adapted_box
        Dice with the largest object, prompted by its box; None if nothing is marked.
    in_domain
        Whether the image resembles the training images of the original model. False if the model
        has no domain score.
    """

    image: str = Field(max_length=2000)
    learned: PositiveInt
    present: Fraction
    adapted: Fraction
    present_box: Fraction | None = None
    adapted_box: Fraction | None = None
    in_domain: bool = False

    @property
    def gain(self) -> float:
        """Gain in Dice of the adapted model, mean over no prompt and box; `ENOUGH` is the most."""
        gains = [self.plain_gain]
        if self.box_gain is not None:
            gains.append(self.box_gain)
        return sum(gains) / len(gains)

    @property
    def plain_gain(self) -> float:
        """The gain without a prompt."""
        return min(self.adapted, ENOUGH) - min(self.present, ENOUGH)

    @property
    def box_gain(self) -> float | None:
        """The gain with a box, if there is an object."""
        if self.present_box is None or self.adapted_box is None:
            return None
        return min(self.adapted_box, ENOUGH) - min(self.present_box, ENOUGH)


@dataclass(frozen=True)
class Comparison:
    """Comparison of both models on held-out images.

    Attributes
    ----------
    used
        Whether the adapted model is better and therefore used.
    n_tests
        Number of images compared.
    present, adapted
        Mean Dice without a prompt; NaN without tests.
    present_box, adapted_box
        Mean Dice with a box; NaN if no image has one.
    """

    used: bool
    n_tests: int
    present: float
    adapted: float
    present_box: float
    adapted_box: float

    def figures(self) -> str:
        """Return the Dice of both models, such as ``0.78 → 0.86``."""
        text = f"{self.present:.2f} → {self.adapted:.2f}"
        if math.isnan(self.present_box):
            return text
        return f"{text} (with a box {self.present_box:.2f} → {self.adapted_box:.2f})"


def compare(tests: Sequence[HeldOutTest], config: AdaptationConfig) -> Comparison:
    """Compare both models on the last held-out images.

    Every accepted image is a test first and joins the training afterwards (prequential
    evaluation, Dawid 1984), so that no image has to be held out. Earlier tests are those of an
    adapted model with fewer images: only the later half counts, at least ``config.recent``
    and ``config.fewest``, and at most ``config.window`` tests.

    The adapted model is used if there are ``config.fewest`` tests or more, its mean gain in
    Dice is at least ``config.margin``, and it loses no more than ``config.tolerance`` either
    without a prompt or with a box. Dice above `ENOUGH` counts as that. A significant gain is not
    required: the next image is another test, so that a wrong decision lasts for a few images.

    If most images are in domain, the original model has learned from many more of their kind.
    Chance then explains a gain better than the adaptation does, and the mean gain must exceed
    `SIGNIFICANT` standard errors.
    """
    count = min(config.window, max(config.recent, config.fewest, math.ceil(len(tests) / 2)))
    last = list(tests)[-count:]
    present, adapted = _mean([t.present for t in last]), _mean([t.adapted for t in last])
    boxes = [
        (t.present_box, t.adapted_box)
        for t in last
        if t.present_box is not None and t.adapted_box is not None
    ]
    present_box, adapted_box = (_mean([pair[k] for pair in boxes]) for k in (0, 1))
    used = len(last) >= config.fewest and _mean([t.gain for t in last]) >= _required(last, config)
    for gains in ([t.plain_gain for t in last], [t.box_gain for t in last]):
        known = [gain for gain in gains if gain is not None]
        used = used and not _mean(known) < -config.tolerance
    return Comparison(used, len(last), present, adapted, present_box, adapted_box)


def _required(tests: Sequence[HeldOutTest], config: AdaptationConfig) -> float:
    """Return the minimum mean gain."""
    if 2 * sum(test.in_domain for test in tests) <= len(tests):
        return config.margin
    error = standard_error(np.array([test.gain for test in tests]))
    return max(config.margin, SIGNIFICANT * error)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
