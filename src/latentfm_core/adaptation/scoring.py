"""Test two models on an accepted image that neither has learned from."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.adaptation.calibrating import HeldOutCalibration
from latentfm_core.adaptation.comparison import HeldOutTest
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import first_prompt, largest_object
from latentfm_core.types import Bool, ImageInput


def held_out_steps(
    present: Segmenter,
    adapted: Segmenter,
    image: ImageInput,
    labels: NDArray[Any],
    learned: int,
    calibration: HeldOutCalibration,
) -> Generator[None, None, HeldOutTest]:
    """Return the Dice of both models on an image, without a prompt and with a box.

    Yields after each answer.

    Parameters
    ----------
    present, adapted
        The models, which are sampled with the settings of their cards and the same seeds.
    image, labels
        The image and its accepted labels ``(H, W)``.
    learned
        Number of images that the adapted model has learned from.
    """
    marked = np.asarray(labels > 0)
    many = len(np.unique(labels[labels > 0])) > 1
    target = largest_object(labels, "instances" if many else "masks")
    none: list[float] = []
    box: list[float | None] = []
    prompt = None if target is None else first_prompt(target, "box")
    for one in (present, adapted):
        samples = one.sample(image)
        summary = one.summarise(samples)
        none.append(dice(np.asarray(summary.mean_mask > 0), marked))
        if one is adapted:
            calibration.add("none", samples, summary, marked)
        yield
        if target is None:
            box.append(None)
            continue
        samples = one.sample(image, prompt=prompt)
        summary = one.summarise(samples)
        box.append(dice(np.asarray(summary.mean_mask > 0), target))
        if one is adapted:
            calibration.add("box", samples, summary, target)
        yield
    if target is not None:
        samples = adapted.sample(image, prompt=first_prompt(target, "point"))
        calibration.add("point", samples, adapted.summarise(samples), target)
        yield
    return HeldOutTest(
        image=image.name,
        learned=learned,
        present=none[0],
        adapted=none[1],
        present_box=box[0],
        adapted_box=box[1],
    )


def mean_mask(
    segmenter: Segmenter,
    image: ImageInput,
    prompt: Prompt | None = None,
    settings: SamplingConfig | None = None,
) -> Bool:
    """Return the mean mask ``(H, W)`` of a model's samples; None uses the settings of its card."""
    samples = segmenter.sample(image, settings, prompt=prompt)
    return np.asarray(segmenter.summarise(samples).mean_mask > 0)
