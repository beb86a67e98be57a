"""Evaluate a model's samples against reference masks over a data set.

Holds one image at a time, so memory does not grow with the data set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.classes import (
    class_dice,
    class_diversity,
    class_ged,
    class_hm_iou,
    class_iou,
)
from latentfm_core.metrics.reliability import ReliabilityBins, brier, error_auroc
from latentfm_core.types import Bool, Float32, ImageInput, Mask, SampleSet, Summary


@dataclass(frozen=True)
class Case:
    """An image and its reference masks.

    Attributes
    ----------
    image
        The image to segment.
    references
        ``(M, H, W)``, one mask per rater, M at least 1, of the image's size: bool with one
        class, else uint8 labels.
    """

    image: ImageInput
    references: Mask


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image, at the resolution of its masks.

    With more than one rater, `dice`, `iou`, `sample_dice`, `brier` and `error_auroc` are means
    over the raters, and `ece` pools the pixels of all raters. With several classes, overlap
    scores are means over the classes present, and `ece` and `brier` are one-vs-rest for each
    foreground class.

    Attributes
    ----------
    name, height, width, references
        The image, and its number M of raters.
    dice, iou
        Scores of the mean mask.
    sample_dice
        Mean Dice of single samples.
    ged, hm_iou
        Squared generalised energy distance and Hungarian-matched IoU of the samples and the
        raters' masks.
    diversity
        Mean 1 - IoU of pairs of samples.
    mask_vae_dice
        Dice of the references with their reconstruction by the mask VAE: an approximate upper
        bound for samples at this latent size.
    ece, brier
        Calibration errors of the mean probability.
    error_auroc
        AUROC of 1 - confidence for wrong pixels of the mean mask; NaN if no pixel or every
        pixel is wrong.
    confidence
        Mean over the pixels.
    expected_dice
        The model's estimate of the mean mask's Dice; NaN where undefined: for a single sample, an
        empty mask, one that covers the image, and an image out of domain.
    domain_score
        Distance from the training images, above 1 out of domain; NaN if unknown.
    nfe
        Evaluations of the velocity network per sample.
    seconds
        From the pixels in memory to the finished maps.
    """

    name: str
    height: int
    width: int
    references: int
    dice: float
    iou: float
    sample_dice: float
    ged: float
    hm_iou: float
    diversity: float
    mask_vae_dice: float
    ece: float
    brier: float
    error_auroc: float
    confidence: float
    expected_dice: float
    domain_score: float
    nfe: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Full results of one image during evaluation.

    Attributes
    ----------
    case, samples, summary, scores
        The image and its references, its samples, maps, and scores.
    """

    case: Case
    samples: SampleSet
    summary: Summary
    scores: ImageScores


Draw = Callable[[Segmenter, Case, SamplingConfig], SampleSet]
"""Function that draws the samples of a case."""

METRICS = (
    "dice",
    "iou",
    "sample_dice",
    "ged",
    "hm_iou",
    "diversity",
    "mask_vae_dice",
    "ece",
    "brier",
    "error_auroc",
    "confidence",
    "expected_dice",
    "domain_score",
)
"""The fields of `ImageScores` whose mean over images describes a model."""

COLUMNS = tuple(field.name for field in fields(ImageScores))


@dataclass(frozen=True)
class Evaluation:
    """Scores of a data set.

    Attributes
    ----------
    scores
        One entry per image.
    reliability
        Bins of the mean probability over the pixels of all images and raters.
    agreement
        Bins of the confidence, against agreement of the mean mask with the rater.
    """

    scores: tuple[ImageScores, ...]
    reliability: ReliabilityBins
    agreement: ReliabilityBins

    def values(self, column: str) -> list[float]:
        """Return a score for all images that have it (without NaN)."""
        listed = [float(getattr(score, column)) for score in self.scores]
        return [value for value in listed if not math.isnan(value)]

    def mean(self, column: str) -> float:
        """Return the mean of a score over the images that have it, NaN if none has."""
        values = self.values(column)
        return float(np.mean(values)) if values else math.nan

    def means(self) -> dict[str, float]:
        """Return the means of `METRICS`, and scores over all images.

        ``dataset_ece`` of the mean probability and ``confidence_ece`` of the confidence, over
        the pixels of all images; ``quality_error``, the mean difference of expected and real
        Dice, and ``quality_rank``, their rank correlation; ``out_of_domain``, the share of
        images outside the training domain.
        """
        return {name: self.mean(name) for name in METRICS} | {
            "dataset_ece": self.reliability.ece,
            "confidence_ece": self.agreement.ece,
            "quality_error": self.quality_error(),
            "quality_rank": self.quality_rank(),
            "out_of_domain": _mean(score > 1 for score in self.values("domain_score")),
        }

    def quality_error(self) -> float:
        """Return the mean difference of expected and real Dice, NaN if no image has one."""
        errors = [abs(score.expected_dice - score.dice) for score in self.scores]
        return _mean(value for value in errors if not math.isnan(value))

    def quality_rank(self) -> float:
        """Return Spearman's correlation of expected and real Dice over the images.

        1: the image with the higher expectation is always better. NaN with fewer than three
        images, or if either is constant.
        """
        known = [score for score in self.scores if not math.isnan(score.expected_dice)]
        expected, measured = [s.expected_dice for s in known], [s.dice for s in known]
        if len(known) < 3 or len(set(expected)) == 1 or len(set(measured)) == 1:
            return math.nan
        # Imported here: it takes half a second, which other code should not wait for.
        from scipy.stats import spearmanr

        return float(spearmanr(expected, measured).statistic)


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
    on_image
        Called with the scores of each image.
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
    draw = draw or unprompted
    scores: list[ImageScores] = []
    total, agreement = ReliabilityBins.empty(), ReliabilityBins.empty()
    for case in cases:
        start = time.perf_counter()
        samples = draw(segmenter, case, settings)
        summary = segmenter.summarise(samples, settings)
        seconds = time.perf_counter() - start
        again = [segmenter.reconstruct_mask(mask) for mask in case.references]
        ceiling = _mean(map(class_dice, again, case.references))
        figures, bins = score(summary, case, samples.nfe, seconds, ceiling)
        total = total + bins
        agreement = agreement + agreement_bins(summary, case.references)
        scores.append(figures)
        if on_outcome is not None:
            on_outcome(Outcome(case, samples, summary, figures))
        if on_image is not None:
            on_image(figures)
    if not scores:
        raise DatasetError("There is no image to evaluate.")
    return Evaluation(tuple(scores), total, agreement)


def unprompted(segmenter: Segmenter, case: Case, settings: SamplingConfig) -> SampleSet:
    """Return the samples of a case without a prompt."""
    return segmenter.sample(case.image, settings)


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
        If there are no references or their size differs.
    """
    raters, masks = case.references, summary.sample_masks
    if raters.ndim != 3 or not len(raters) or raters.shape[1:] != summary.mean_mask.shape:
        raise ValueError(
            f"references must be (M, {masks.shape[1]}, {masks.shape[2]}), got {raters.shape}"
        )
    bins = probability_bins(summary, raters)
    figures = ImageScores(
        name=case.image.name,
        height=raters.shape[1],
        width=raters.shape[2],
        references=len(raters),
        dice=_mean(class_dice(summary.mean_mask, rater) for rater in raters),
        iou=_mean(class_iou(summary.mean_mask, rater) for rater in raters),
        sample_dice=_mean(class_dice(mask, rater) for mask in masks for rater in raters),
        ged=class_ged(masks, raters),
        hm_iou=class_hm_iou(masks, raters),
        diversity=class_diversity(masks),
        mask_vae_dice=ceiling,
        ece=bins.ece,
        brier=_mean(brier(*_one_vs_rest(summary, rater)) for rater in raters),
        error_auroc=_mean(
            value for rater in raters if (value := _error_auroc(summary, rater)) is not None
        ),
        confidence=float(summary.confidence.mean(dtype=np.float64)),
        expected_dice=math.nan if summary.expected_dice is None else summary.expected_dice,
        domain_score=math.nan if summary.domain_score is None else summary.domain_score,
        nfe=nfe,
        seconds=seconds,
    )
    return figures, bins


def probability_bins(summary: Summary, raters: Mask) -> ReliabilityBins:
    """Return the bins of the mean probability against the masks ``(M, H, W)`` of M raters."""
    each = (ReliabilityBins.of(*_one_vs_rest(summary, rater)) for rater in raters)
    return sum(each, ReliabilityBins.empty())


def agreement_bins(summary: Summary, raters: Mask) -> ReliabilityBins:
    """Return the bins of the confidence against agreement of the mean mask with a rater."""
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
    wrong = np.asarray(summary.mean_mask != rater)
    return error_auroc(summary.confidence, wrong, np.zeros_like(wrong))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else math.nan
