"""A simulated annotator works on one image; all figures of it."""

from __future__ import annotations

import numpy as np

from benchmarks.prompts.answers import Method
from benchmarks.prompts.cases import PromptCase
from benchmarks.prompts.settings import CLICKS, TARGETS, MeasureSettings
from latentfm_core.metrics.distribution import ged, hm_iou
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import corrected, first_prompt
from latentfm_core.types import Bool

Figures = dict[str, float]


def measure(method: Method, case: PromptCase, settings: MeasureSettings) -> Figures:
    """Return the figures of one image for all prompts that the method can answer.

    Returns
    -------
    dict
        Dice with the object: ``none_object``, ``box``, ``box_1`` (box and one correction) and
        ``click_K``; ``none`` is the Dice of an answer without a prompt with all that was drawn,
        mean over the raters. ``best_click`` and ``best_box``: the best of several samples.
        ``noc_85`` and ``noc_90``: clicks to that Dice; ``never_85`` and ``never_90``: 1 if it was
        not reached. ``ged_P`` and ``hm_iou_P`` for the prompts P
        ``none``, ``box`` and ``click``, where there are several raters.
    """
    figures: Figures = {}
    if "none" in method.uses:
        figures |= _without_prompt(method, case, settings)
    if "box" in method.uses:
        figures |= _with_box(method, case, settings)
    if "clicks" in method.uses:
        figures |= _with_clicks(method, case, settings)
    return figures


def _without_prompt(method: Method, case: PromptCase, settings: MeasureSettings) -> Figures:
    mask = method.answer(case.image, None, None).mask
    figures = {
        "none": float(np.mean([dice(mask, rater) for rater in case.whole])),
        "none_object": dice(mask, case.target),
    }
    if method.stochastic and len(case.whole) > 1:
        samples = method.answer(case.image, None, settings.hypotheses).samples
        # Without a prompt there may be no object: empty masks count.
        figures |= _spread("none", samples, case.whole)
    return figures


def _with_box(method: Method, case: PromptCase, settings: MeasureSettings) -> Figures:
    prompt = _first(case, "box")
    mask = method.answer(case.image, prompt, None).mask
    figures = {"box": dice(mask, case.target)}
    if "corrected_box" in method.uses:
        after = corrected(prompt, mask, case.target)
        figures["box_1"] = dice(method.answer(case.image, after, None).mask, case.target)
    return figures | _hypotheses("box", method, case, prompt, settings)


def _with_clicks(method: Method, case: PromptCase, settings: MeasureSettings) -> Figures:
    prompt = first = _first(case, "point")
    scores: list[float] = []
    wanted = max(TARGETS.values())
    for _ in range(settings.most_clicks):
        mask = method.answer(case.image, prompt, None).mask
        scores.append(dice(mask, case.target))
        if len(scores) >= CLICKS[-1] and max(scores) >= wanted:
            break
        prompt = corrected(prompt, mask, case.target)
    figures = {f"click_{count}": scores[count - 1] for count in CLICKS}
    for name, target in TARGETS.items():
        figures[f"noc_{name}"] = clicks_to(scores, target, settings.most_clicks)
        figures[f"never_{name}"] = float(max(scores) < target)
    return figures | _hypotheses("click", method, case, first, settings)


def clicks_to(scores: list[float], target: float, most: int) -> int:
    """Return the number of clicks after which Dice first reaches `target`, else `most`."""
    return next((i for i, score in enumerate(scores, start=1) if score >= target), most)


def _first(case: PromptCase, kind: str) -> Prompt:
    prompt = first_prompt(case.target, "box" if kind == "box" else "point")
    if prompt is None:
        raise ValueError("a case has an object")
    return prompt


def _hypotheses(
    name: str, method: Method, case: PromptCase, prompt: Prompt, settings: MeasureSettings
) -> Figures:
    if not method.stochastic:
        return {}
    samples = method.answer(case.image, prompt, settings.hypotheses).samples
    figures = {f"best_{name}": max(dice(sample, case.target) for sample in samples)}
    if len(case.whole) > 1:
        # A prompt implies an object: raters without one are left out.
        figures |= _spread(name, samples, case.drawn)
    return figures


def _spread(name: str, samples: Bool, references: Bool) -> Figures:
    return {f"ged_{name}": ged(samples, references), f"hm_iou_{name}": hm_iou(samples, references)}
