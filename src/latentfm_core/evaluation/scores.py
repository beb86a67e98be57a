"""Scores of an image and of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from latentfm_core.metrics.reliability import ReliabilityBins

MIN_RANKED = 10
"""Images needed for a rank correlation; with fewer it is mostly chance."""


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
        Mean 1 - IoU of pairs of samples; NaN for a single sample.
    mask_vae_dice
        Dice of the references with their reconstruction by the mask VAE: an approximate upper
        bound for samples at this latent size.
    ece, brier
        Calibration errors of the mean probability.
    error_auroc
        AUROC of 1 - confidence for wrong pixels of the mean mask; NaN if no pixel or every
        pixel is wrong, or the confidence is unknown.
    confidence
        Mean over the pixels; NaN for a single sample that is not calibrated, which has no spread.
    expected_dice
        The model's estimate of the mean mask's Dice; NaN where undefined: for a single sample, an
        empty mask, one that covers the image, and an image out of domain.
    domain_score
        Distance from the training images, above 1 out of domain; NaN if unknown.
    nfe
        Evaluations of the velocity network per sample.
    seconds
        From the pixels in memory to the finished maps; objects of an image share the drawing.
    object
        Number of the object that was marked and compared; None for the mask of the whole image.
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
    object: int | None = None

    @property
    def label(self) -> str:
        """Name of the image, and the number of the object if it is one."""
        return self.name if self.object is None else f"{self.name}, object {self.object}"


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
    reliability
        Bins of the mean probability over the pixels of all images and raters.
    agreement
        Bins of the confidence, against agreement of the mean mask with the rater.
    """

    scores: tuple[ImageScores, ...]
    reliability: ReliabilityBins
    agreement: ReliabilityBins

    @property
    def of_objects(self) -> bool:
        """Whether the scores are those of single objects instead of images."""
        return any(score.object is not None for score in self.scores)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len({s.name for s in self.scores}) if self.of_objects else len(self.scores)

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of `ImageScores` that a table shows: ``object`` only with objects."""
        return tuple(name for name in COLUMNS if self.of_objects or name != "object")

    def values(self, column: str) -> list[float]:
        """Return a score for all images that have it (without NaN)."""
        listed = [float(getattr(score, column)) for score in self.scores]
        return [value for value in listed if not math.isnan(value)]

    def mean(self, column: str) -> float:
        """Return the mean of a score over the images that have it, NaN if none has."""
        values = self.values(column)
        return float(np.mean(values)) if values else math.nan

    def means_over_images(self) -> dict[str, float]:
        """Return the means of `METRICS` over the images, each the mean over its objects."""
        found: dict[str, dict[str, list[float]]] = {name: {} for name in METRICS}
        for score in self.scores:
            for name, images in found.items():
                if not math.isnan(value := getattr(score, name)):
                    images.setdefault(score.name, []).append(value)
        return {name: mean_or_nan(map(mean_or_nan, of.values())) for name, of in found.items()}

    def means(self) -> dict[str, float]:
        """Return the means of `METRICS`, and scores over all images.

        ``dataset_ece`` of the mean probability and ``confidence_ece`` of the confidence, over
        the pixels of all images; ``quality_error``, the mean difference of expected and actual
        Dice, and ``quality_rank``, their rank correlation; ``out_of_domain``, the share of
        images outside the training domain.
        """
        return {name: self.mean(name) for name in METRICS} | {
            "dataset_ece": self.reliability.ece,
            "confidence_ece": self.agreement.ece,
            "quality_error": self.quality_error(),
            "quality_rank": self.quality_rank(),
            "out_of_domain": mean_or_nan(score > 1 for score in self.values("domain_score")),
        }

    def quality_error(self) -> float:
        """Return the mean difference of expected and actual Dice, NaN if no image has one."""
        errors = [abs(score.expected_dice - score.dice) for score in self.scores]
        return mean_or_nan(value for value in errors if not math.isnan(value))

    def quality_rank(self) -> float:
        """Return Spearman's correlation of expected and actual Dice over the images.

        1: the image with the higher expectation is always better. NaN with fewer than
        `MIN_RANKED` images, or if either is constant.
        """
        known = [score for score in self.scores if not math.isnan(score.expected_dice)]
        expected, measured = [s.expected_dice for s in known], [s.dice for s in known]
        if len(known) < MIN_RANKED or len(set(expected)) == 1 or len(set(measured)) == 1:
            return math.nan
        # Imported here: it takes half a second.
        from scipy.stats import spearmanr

        return float(spearmanr(expected, measured).statistic)


def mean_or_nan(values: Iterable[float]) -> float:
    """Return the mean of the values, NaN if there are none."""
    listed = list(values)
    return float(np.mean(listed)) if listed else math.nan
