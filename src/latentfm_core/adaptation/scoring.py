"""Test two models on an accepted image that neither has learned from."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.adaptation.calibrating import HeldOutCalibration
from latentfm_core.adaptation.comparison import HeldOutTest
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import first_prompt, largest_object
from latentfm_core.types import Bool, ImageInput, is_out_of_domain
from latentfm_core.vocabulary import PromptGroup


def held_out_steps(
    present: Segmenter,
    adapted: Segmenter,
    image: ImageInput,
    labels: NDArray[Any],
    learned: int,
    calibration: HeldOutCalibration,
) -> Generator[None, None, HeldOutTest]:
    """Return the Dice of both models on an image, without a prompt and with a box.

    Yields after each result.

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
    domain = present.domain_score(image)

    def score(model: Segmenter, group: PromptGroup, mask: Bool, prompt: Prompt | None) -> float:
        samples = model.sample(image, prompt=prompt)
        summary = model.summarise(samples)
        if model is adapted:
            calibration.add(group, samples, summary, mask)
        return dice(np.asarray(summary.mean_mask > 0), mask)

    for model in (present, adapted):
        none.append(score(model, "none", marked, None))
        yield
        if target is None:
            box.append(None)
        else:
            box.append(score(model, "box", target, first_prompt(target, "box")))
            yield
    if target is not None:
        score(adapted, "point", target, first_prompt(target, "point"))
        yield
    return HeldOutTest(
        image=image.name,
        learned=learned,
        present=none[0],
        adapted=none[1],
        present_box=box[0],
        adapted_box=box[1],
        in_domain=domain is not None and not is_out_of_domain(domain),
    )
