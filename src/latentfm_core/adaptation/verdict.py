"""Decide whether an adapted model is used, from tests on images that it has not learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from latentfm_core.config import AdaptationConfig, Fraction, PositiveInt, Settings

SIGNIFICANT = 1.0
"""Standard errors by which the mean gain must exceed 0."""


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
    """

    image: str = Field(max_length=2000)
    learned: PositiveInt
    present: Fraction
    adapted: Fraction
    present_box: Fraction | None = None
    adapted_box: Fraction | None = None

    @property
    def gain(self) -> float:
        """Gain in Dice of the adapted model, mean over no prompt and box."""
        gains = [self.adapted - self.present]
        if self.present_box is not None and self.adapted_box is not None:
            gains.append(self.adapted_box - self.present_box)
        return sum(gains) / len(gains)


@dataclass(frozen=True)
class Verdict:
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


def judge(tests: Sequence[HeldOutTest], config: AdaptationConfig) -> Verdict:
    """Compare both models on the last held-out images.

    Every accepted image is a test first and joins the training afterwards (prequential
    evaluation, Dawid 1984), so that no image has to be kept back. Earlier tests are those of an
    adapted model with fewer images: only the later half counts, at least ``config.fewest`` and at
    most ``config.window`` tests.

    The adapted model is used if there are ``config.fewest`` tests or more, its mean gain in
    Dice is at least ``config.margin`` and more than `SIGNIFICANT` standard errors, and it loses
    no more than ``config.tolerance`` either without a prompt or with a box.
    """
    count = min(config.window, max(config.fewest, math.ceil(len(tests) / 2)))
    last = list(tests)[-count:]
    present, adapted = _mean([t.present for t in last]), _mean([t.adapted for t in last])
    boxes = [
        (t.present_box, t.adapted_box)
        for t in last
        if t.present_box is not None and t.adapted_box is not None
    ]
    present_box, adapted_box = (_mean([pair[k] for pair in boxes]) for k in (0, 1))
    used = len(last) >= config.fewest and _is_better(last, config)
    used = used and not present - adapted > config.tolerance
    used = used and not present_box - adapted_box > config.tolerance
    return Verdict(used, len(last), present, adapted, present_box, adapted_box)


def _is_better(tests: Sequence[HeldOutTest], config: AdaptationConfig) -> bool:
    gains = [test.gain for test in tests]
    mean = _mean(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    error = math.sqrt(variance / len(gains))
    return mean >= config.margin and mean > SIGNIFICANT * error


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
