"""Comparison of a model's samples with reference masks, over a data set.

One image is held at a time, so that memory does not grow with the data set.
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
        What is segmented.
    references
        ``(M, H, W)``, one mask per rater, M at least 1, of the image's size: bool with one
        class, else uint8 labels.
    """

    image: ImageInput
    references: Mask


@dataclass(frozen=True)
class ImageScores:
    """Figures of one image, at the resolution of its masks.

    With more than one rater, `dice`, `iou`, `sample_dice`, `brier` and `error_auroc` are
    means over the raters, and `ece` takes the pixels of all raters together. With several
    classes, overlap figures are means over the classes that occur, and `ece` and `brier`
    look at each foreground class against the rest.

    Attributes
    ----------
    name, height, width, references
        The image, and its number M of raters.
    dice, iou
        Of the mean mask.
    sample_dice
        Mean Dice of single samples.
    ged, hm_iou
        Squared generalised energy distance and Hungarian-matched IoU of the samples and the
        raters' masks.
    diversity
        Mean 1 - IoU of pairs of samples.
    mask_vae_dice
        Dice of the references with themselves after the mask VAE: what no sample can exceed
        by much at this latent size.
    ece, brier
        Of the mean probability.
    error_auroc
        How well 1 - confidence finds the wrong pixels of the mean mask; NaN where no pixel
        or every pixel is wrong.
    confidence
        Mean over the pixels.
    expected_dice
        What the model itself says of the Dice of the mean mask; NaN where it says nothing: of a
        single sample, an empty mask, one that covers the image, and an image out of domain.
    domain_score
        How unlike the training images the image is, above 1 out of domain; NaN if the model
        cannot tell.
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
    """All that is known of one image while it is at hand.

    Attributes
    ----------
    case, samples, summary, scores
        The image and its references, what was drawn, its maps, and its figures.
    """

    case: Case
    samples: SampleSet
    summary: Summary
    scores: ImageScores


Draw = Callable[[Segmenter, Case, SamplingConfig], SampleSet]
"""How the samples of a case are drawn."""

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
"""The figures of `ImageScores` whose mean over images says something of a model."""

COLUMNS = tuple(field.name for field in fields(ImageScores))


@dataclass(frozen=True)
class Evaluation:
    """Figures of a data set.

    Attributes
    ----------
    scores
        One entry per image.
    reliability
        Bins of the mean probability over the pixels of all images and raters.
    agreement
        The same of the confidence, against whether the mean mask agrees with the rater.
    """

    scores: tuple[ImageScores, ...]
    reliability: ReliabilityBins
    agreement: ReliabilityBins

    def values(self, column: str) -> list[float]:
        """Return a figure of all images that have it (NaN left out)."""
        listed = [float(getattr(score, column)) for score in self.scores]
        return [value for value in listed if not math.isnan(value)]

    def mean(self, column: str) -> float:
        """Return the mean of a figure over the images that have it, NaN if none has."""
        values = self.values(column)
        return float(np.mean(values)) if values else math.nan

    def means(self) -> dict[str, float]:
        """Return the means of `METRICS`, and figures that need all images at once.

        ``dataset_ece`` of the mean probability and ``confidence_ece`` of the confidence, over
        the pixels of all images; ``quality_error``, the mean difference of expected and real
        Dice, and ``quality_rank``, their rank correlation; ``out_of_domain``, the share of the
        images that are unlike the training images.
        """
        return {name: self.mean(name) for name in METRICS} | {
            "dataset_ece": self.reliability.ece,
            "confidence_ece": self.agreement.ece,
            "quality_error": self.quality_error(),
            "quality_rank": self.quality_rank(),
            "out_of_domain": _mean(score > 1 for score in self.values("domain_score")),
        }

    def quality_error(self) -> float:
        """Return the mean difference of expected and real Dice, NaN if no image expects one."""
        found = [abs(score.expected_dice - score.dice) for score in self.scores]
        return _mean(value for value in found if not math.isnan(value))

    def quality_rank(self) -> float:
        """Return Spearman's correlation of expected and real Dice over the images.

        1: the image with the higher expectation always is the better one. NaN with fewer than
        three images, or where one of the two is the same for all.
        """
        known = [score for score in self.scores if not math.isnan(score.expected_dice)]
        expected, found = [s.expected_dice for s in known], [s.dice for s in known]
        if len(known) < 3 or len(set(expected)) == 1 or len(set(found)) == 1:
            return math.nan
        # Here: half a second, for which no other part of the program is to wait.
        from scipy.stats import spearmanr

        return float(spearmanr(expected, found).statistic)


def evaluate(
    segmenter: Segmenter,
    cases: Iterable[Case],
    settings: SamplingConfig,
    on_image: Callable[[ImageScores], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    draw: Draw | None = None,
) -> Evaluation:
    """Sample every image, compare with its references, and return the figures.

    Parameters
    ----------
    cases
        Taken one by one; give a generator to keep one image in memory at a time.
    on_image
        Called with the figures of each image.
    on_outcome
        Called before that with the maps as well; what it keeps of them stays in memory.
    draw
        How an image is sampled, with which prompts for example; None samples it without.

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
        What the maps do not tell: `nfe`, `seconds` and `mask_vae_dice` of the figures.

    Returns
    -------
    ImageScores
        The figures.
    ReliabilityBins
        The image's pixels, to be added up over a data set.

    Raises
    ------
    ValueError
        If the references are none or of another size.
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
    """Return the bins of the confidence against whether the mean mask agrees with a rater."""
    right = (np.asarray(summary.mean_mask == rater) for rater in raters)
    each = (ReliabilityBins.of(summary.confidence, agrees) for agrees in right)
    return sum(each, ReliabilityBins.empty())


def _one_vs_rest(summary: Summary, rater: Mask) -> tuple[Float32, Bool]:
    """Return the foreground probabilities and where a rater saw each class."""
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
