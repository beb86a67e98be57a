"""Evaluate a model's samples against reference masks over a data set.

Holds one image at a time, so memory does not grow with the data set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.scores import Evaluation, ImageScores, mean_or_nan
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.classes import (
    class_dice,
    class_diversity,
    class_ged,
    class_hm_iou,
    class_iou,
)
from latentfm_core.metrics.reliability import ReliabilityBins, brier, error_auroc
from latentfm_core.types import (
    Bool,
    Float32,
    ImageInput,
    Mask,
    SampleSet,
    Summary,
    as_input,
    check_labels,
    is_binary,
)


@dataclass(frozen=True)
class Case:
    """An image and its reference masks.

    Attributes
    ----------
    references
        ``(M, H, W)``, one mask per rater, M at least 1, of the image's size: bool with one
        class, else uint8 labels.
    numbered
        ``(H, W)`` integers, the objects of the image numbered from 1, if they are numbered.
    number
        The number of the object that `references` shows; None if they show the whole mask.

    Raises
    ------
    ImageError
        If the references contain masked or negative values.
    """

    image: ImageInput
    references: Mask
    numbered: NDArray[Any] | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", as_input(self.image))
        check_labels(self.references, f"references of {self.image.name}")


@dataclass(frozen=True)
class Outcome:
    """Full results of one image during evaluation."""

    case: Case
    samples: SampleSet
    summary: Summary
    scores: ImageScores


Draw = Callable[[Segmenter, Sequence[Case], SamplingConfig], list[SampleSet]]
"""Function that draws the samples of a case, or of several objects of one image."""

AT_ONCE = 16
"""Objects of an image whose samples are in memory at the same time."""


def evaluate(
    segmenter: Segmenter,
    cases: Iterable[Case],
    settings: SamplingConfig,
    on_image: Callable[[ImageScores], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    draw: Draw | None = None,
) -> Evaluation:
    """Sample every image, compare with its references, and return the scores.

    Parameters
    ----------
    cases
        Consumed one by one; pass a generator to keep one image in memory at a time.
    on_outcome
        Called before `on_image` with the maps as well; anything it keeps stays in memory.
    draw
        Sampling function, for example with prompts; None samples without prompts.

    Raises
    ------
    DatasetError
        If there are no cases.
    ValueError
        If references do not fit their image.
    ImageError
        If an image cannot be used.
    ResourceError
        If memory runs out.
    """
    scores: list[ImageScores] = []
    total, agreement = ReliabilityBins.empty(), ReliabilityBins.empty()
    for case, samples, drawing in _drawn(segmenter, cases, settings, draw or unprompted):
        start = time.perf_counter()
        summary = segmenter.summarise(samples, settings)
        seconds = drawing + time.perf_counter() - start
        seen = _in_field(case, samples)
        again = [segmenter.reconstruct_mask(mask) for mask in seen]
        ceiling = mean_or_nan(map(class_dice, again, seen))
        figures, bins = score(summary, case, samples.nfe, seconds, ceiling)
        total = total + bins
        agreement = agreement + agreement_bins(summary, case.references)
        scores.append(figures)
        if on_outcome is not None:
            on_outcome(Outcome(case, samples, summary, figures))
        if on_image is not None:
            on_image(figures)
    if not scores:
        raise DatasetError("There are no images to evaluate.")
    return Evaluation(tuple(scores), total, agreement)


def unprompted(
    segmenter: Segmenter, cases: Sequence[Case], settings: SamplingConfig
) -> list[SampleSet]:
    """Return the samples of cases without a prompt."""
    return [segmenter.sample(case.image, settings) for case in cases]


def _in_field(case: Case, samples: SampleSet) -> Mask:
    """Return the references, of a numbered object only the field that the network saw."""
    window = samples.geometry.window
    if case.number is None or window is None:
        return case.references
    top, left, rows, columns = window
    return case.references[
        :, max(0, top) : max(0, top + rows), max(0, left) : max(0, left + columns)
    ]


def _drawn(
    segmenter: Segmenter, cases: Iterable[Case], settings: SamplingConfig, draw: Draw
) -> Iterator[tuple[Case, SampleSet, float]]:
    """Yield each case with its samples and the seconds that they took."""
    for group in _of_one_image(cases):
        start = time.perf_counter()
        drawn = draw(segmenter, group, settings)
        seconds = (time.perf_counter() - start) / len(group)
        for case, samples in zip(group, drawn, strict=True):
            yield case, samples, seconds


def _of_one_image(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Yield the objects of an image together, at most `AT_ONCE`, and any other case alone."""
    group: list[Case] = []
    for case in cases:
        if group and (len(group) == AT_ONCE or case.image is not group[0].image):
            yield group
            group = []
        group.append(case)
        if case.number is None:
            yield group
            group = []
    if group:
        yield group


def score(
    summary: Summary, case: Case, nfe: int, seconds: float, ceiling: float
) -> tuple[ImageScores, ReliabilityBins]:
    """Compare the maps of one image with its references.

    Parameters
    ----------
    nfe, seconds, ceiling
        `nfe`, `seconds` and `mask_vae_dice` of the scores, which the maps do not contain.

    Returns
    -------
    ImageScores
        The scores.
    ReliabilityBins
        The image's pixels, to be summed over a data set.

    Raises
    ------
    ValueError
        If there are no references, or their size or type differs.
    """
    raters, masks = case.references, summary.sample_masks
    if raters.ndim != 3 or not len(raters) or raters.shape[1:] != summary.mean_mask.shape:
        raise ValueError(
            f"references must be (M, {masks.shape[1]}, {masks.shape[2]}), got {raters.shape}"
        )
    if is_binary(summary.mean_mask) and not is_binary(raters):
        raise ValueError(f"references of one class must be boolean, got {raters.dtype}")
    bins = probability_bins(summary, raters)
    figures = ImageScores(
        name=case.image.name,
        height=raters.shape[1],
        width=raters.shape[2],
        references=len(raters),
        dice=mean_or_nan(class_dice(summary.mean_mask, rater) for rater in raters),
        iou=mean_or_nan(class_iou(summary.mean_mask, rater) for rater in raters),
        sample_dice=mean_or_nan(class_dice(mask, rater) for mask in masks for rater in raters),
        ged=class_ged(masks, raters),
        hm_iou=class_hm_iou(masks, raters),
        diversity=class_diversity(masks),
        mask_vae_dice=ceiling,
        ece=bins.ece,
        brier=mean_or_nan(brier(*_one_vs_rest(summary, rater)) for rater in raters),
        error_auroc=mean_or_nan(
            value for rater in raters if (value := _error_auroc(summary, rater)) is not None
        ),
        confidence=(
            float(summary.confidence.mean(dtype=np.float64)) if summary.has_confidence else math.nan
        ),
        expected_dice=math.nan if summary.expected_dice is None else summary.expected_dice,
        domain_score=math.nan if summary.domain_score is None else summary.domain_score,
        nfe=nfe,
        seconds=seconds,
        object=case.number,
    )
    return figures, bins


def probability_bins(summary: Summary, raters: Mask) -> ReliabilityBins:
    """Return the bins of the mean probability against the masks ``(M, H, W)`` of M raters."""
    each = (ReliabilityBins.of(*_one_vs_rest(summary, rater)) for rater in raters)
    return sum(each, ReliabilityBins.empty())


def agreement_bins(summary: Summary, raters: Mask) -> ReliabilityBins:
    """Return the bins of the confidence against agreement of the mean mask with a rater.

    They are empty if the confidence is meaningless (`Summary.has_confidence`).
    """
    if not summary.has_confidence:
        return ReliabilityBins.empty()
    right = (np.asarray(summary.mean_mask == rater) for rater in raters)
    each = (ReliabilityBins.of(summary.confidence, agrees) for agrees in right)
    return sum(each, ReliabilityBins.empty())


def _one_vs_rest(summary: Summary, rater: Mask) -> tuple[Float32, Bool]:
    """Return the foreground probabilities and a rater's mask of each class."""
    p = summary.mean_probability
    if p.ndim == 2:
        return p, rater.astype(np.bool_, copy=False)
    return p[1:], np.asarray(rater == np.arange(1, len(p))[:, None, None])


def _error_auroc(summary: Summary, rater: Mask) -> float | None:
    if not summary.has_confidence:
        return None
    wrong = np.asarray(summary.mean_mask != rater)
    return error_auroc(summary.confidence, wrong, np.zeros_like(wrong))
