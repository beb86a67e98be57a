"""Fit a `Calibration` to images with reference masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.evaluate import Case, Draw, unprompted
from latentfm_core.evaluation.noise_scale import (
    NOISE_SCALES,
    choose_noise_scale,
)
from latentfm_core.evaluation.threshold import THRESHOLDS, choose_threshold
from latentfm_core.images.canvas import from_canvas
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.classes import class_dice, class_fair_ged
from latentfm_core.metrics.overlap import Float64
from latentfm_core.types import Float32, Mask, SampleSet
from latentfm_core.uncertainty.calibration import (
    MAX_KNOTS,
    Calibration,
    MonotoneMap,
    neighbourhood,
    neighbourhood_confidence,
)
from latentfm_core.uncertainty.expected_dice import QualityMap, fit_quality
from latentfm_core.uncertainty.summary import (
    DEFAULT_THRESHOLD,
    SAMPLE_THRESHOLD,
    USUAL_SCALE,
    harden,
)

logger = logging.getLogger(__name__)

BINS = 1000
SIGMA_SHARES = (0.0, 1 / 128, 1 / 64, 1 / 32, 1 / 16)
"""Candidates for sigma, as shares of the canvas side."""

Index = NDArray[np.intp]


def fit_calibration(
    segmenter: Segmenter,
    cases: Iterable[Case],
    settings: SamplingConfig,
    on_image: Callable[[int], object] | None = None,
    part: str = "",
    groups: Mapping[str, str] | None = None,
    draw: Draw = unprompted,
) -> Calibration:
    """Fit noise scale, confidence map, probability map and threshold on validation images.

    The noise scale makes the samples differ from each other as much as from the raters' masks
    (see `choose_noise_scale`). Everything else is fitted at that scale. The threshold has the
    best mean Dice, if significantly better than at 0.5 (see `choose_threshold`); expected Dice
    follows the agreement of the samples at that threshold (`fit_quality`); the neighbourhood has
    the best error-detection AUROC; both maps are isotonic regressions over all pixels and raters.
    Only counts are kept per image, so memory hardly grows with the data set.

    Parameters
    ----------
    cases
        Validation images, consumed one by one; never those of reported scores.
    settings
        Sampling settings, except the noise scale; the calibration holds for about this number
        of samples.
    on_image
        Called with the number of images done.
    part
        Source of the images, for the card.
    groups
        Patient or video of each image, by name. The images of a group are correlated, and count
        as one observation in the choice of noise scale and threshold.
    draw
        Sampling function, such as with prompts of one kind.

    Raises
    ------
    DatasetError
        If there are no cases.
    """
    model = segmenter.card.config
    sigmas = tuple(share * model.data.size for share in SIGMA_SHARES)
    binary = model.model.mask_channels == 1
    # A single sample has no spread.
    scales = NOISE_SCALES if settings.n_samples > 1 else (USUAL_SCALE,)
    tried = {scale: _Evidence(sigmas, binary) for scale in scales}
    for done, case in enumerate(cases, start=1):
        group = (groups or {}).get(case.image.name)
        for scale, found in tried.items():
            drawn = settings.model_copy(update={"noise_scale": scale})
            found.add(draw(segmenter, case, drawn), case.references, group)
        if on_image is not None:
            on_image(done)
    if not tried[USUAL_SCALE].n_images:
        raise DatasetError("There is no image to calibrate on. Choose images and their masks.")
    scale = _best_scale(tried)
    evidence = tried[scale]
    best = evidence.best_threshold() if binary else 0
    fits = [evidence.agreement(index, best) for index in range(len(sigmas))]
    chosen = max(range(len(sigmas)), key=lambda index: fits[index].auroc())
    return Calibration(
        sigma=sigmas[chosen],
        confidence=fits[chosen].fit(),
        probability=evidence.foreground.fit() if binary else None,
        threshold=THRESHOLDS[best] if binary else DEFAULT_THRESHOLD,
        noise_scale=scale,
        quality=evidence.quality(best) if settings.n_samples > 1 else None,
        part=part,
        n_images=evidence.n_images,
        n_samples=settings.n_samples,
        steps=settings.steps,
        solver=settings.solver,
    )


@dataclass
class Frequency:
    """Frequency of an event in bins of a score in [0, 1].

    Attributes
    ----------
    count, hits, score
        ``(BINS,)``: observations, number of true ones, and sum of their scores.
    """

    count: Float64
    hits: Float64
    score: Float64

    @classmethod
    def empty(cls) -> Frequency:
        """Return bins without observations."""
        return cls(np.zeros(BINS), np.zeros(BINS), np.zeros(BINS))

    def add(self, score: Float32, truth: NDArray[np.bool_]) -> None:
        """Add one observation per pixel."""
        index = bin_of(score)
        self.count += np.bincount(index, minlength=BINS)
        self.hits += np.bincount(index, weights=truth.ravel(), minlength=BINS)
        self.score += np.bincount(index, weights=score.ravel(), minlength=BINS)

    def auroc(self) -> float:
        """Return the AUROC of low scores for false events; ties within a bin count half."""
        wrong, right = self.count - self.hits, self.hits
        below = np.cumsum(wrong) - wrong
        pairs = wrong.sum() * right.sum()
        return float((right * (below + wrong / 2)).sum() / pairs) if pairs else 0.5

    def fit(self) -> MonotoneMap:
        """Return the isotonic regression of the frequency on the score."""
        used = self.count > 0
        count = self.count[used]
        blocks = isotonic_regression(self.hits[used] / count, weights=count).blocks[:-1]
        weight = np.add.reduceat(count, blocks)
        x = np.add.reduceat(self.score[used], blocks) / weight
        y = np.add.reduceat(self.hits[used], blocks) / weight
        return _through(*_merged(np.clip(x, 0, 1), np.clip(y, 0, 1), weight))


def _best_scale(tried: Mapping[float, _Evidence]) -> float:
    """Return the scale chosen by `choose_noise_scale`, and log the candidates."""
    if len(tried) == 1:
        return USUAL_SCALE
    ged = np.array([tried[scale].energy for scale in NOISE_SCALES]).T
    dice = np.array([tried[scale].usual_dice() for scale in NOISE_SCALES]).T
    means = zip(NOISE_SCALES, ged.mean(axis=0), dice.mean(axis=0), strict=True)
    entries = (f"{scale:g}: {energy:.4f} ({mask:.4f})" for scale, energy, mask in means)
    logger.info("fair GED (Dice of the mean mask) at noise scale %s", ", ".join(entries))
    return NOISE_SCALES[choose_noise_scale(ged, dice, tried[USUAL_SCALE].groups)]


def bin_of(score: Float32) -> Index:
    """Return the bin of each score in [0, 1], flat.

    Most pixels are within a thousandth of 0 or 1, where error rates differ a hundredfold. The
    bins are therefore equal in the fourth root of the distance from the nearer end.
    """
    flat = score.ravel()
    root = np.sqrt(np.sqrt(2 * np.minimum(flat, 1 - flat)))
    scaled = np.where(flat < 0.5, root, 2 - root) * (BINS / 2)
    index: Index = np.minimum(scaled.astype(np.intp), BINS - 1)
    return index


class _Evidence:
    """Counts over pixels and raters for comparing all candidates.

    The mean probability is only kept as its level, the number of `THRESHOLDS` it reaches. A
    pixel of level l is in the mean mask at ``THRESHOLDS[k]`` if l > k, so one pass over the
    images covers all thresholds. Labels of several classes have no threshold: there the truth
    is "the mean mask is right" and every level is 1.
    """

    def __init__(self, sigmas: tuple[float, ...], binary: bool) -> None:
        self.n_images = 0
        self.foreground = Frequency.empty()
        self._sigmas = sigmas
        self._binary = binary
        self._counts = np.zeros((len(sigmas), len(THRESHOLDS) + 1, BINS, 2))
        self._scores = np.zeros((len(sigmas), BINS))
        # Per image and threshold; one entry with several classes.
        self._dice: list[Float64] = []
        self._agreement: list[Float64] = []
        self.energy: list[float] = []
        self.groups: list[str | None] = []

    def add(self, samples: SampleSet, references: Mask, group: str | None) -> None:
        """Count an image: its samples, its raters' masks, and its group."""
        mean, geometry = samples.probabilities.mean(axis=0, dtype=np.float32), samples.geometry
        native = np.clip(from_canvas(mean, geometry), 0.0, 1.0)
        if self._binary:
            truths = [np.asarray(rater > 0) for rater in references]
            levels = np.asarray(THRESHOLDS, dtype=np.float32)  # compared as masks are
            level = np.searchsorted(levels, native.ravel(), side="right")
            for truth in truths:
                self.foreground.add(native, truth)
        else:
            labels = harden(native, DEFAULT_THRESHOLD)
            truths = [np.asarray(labels == rater) for rater in references]
            level = np.ones(labels.size, dtype=np.intp)
        for index, sigma in enumerate(self._sigmas):
            q = from_canvas(neighbourhood(mean, sigma), geometry)
            score = neighbourhood_confidence(np.clip(q, 0.0, 1.0))
            self._count(level, score, truths, index)
        masks = np.stack(
            [harden(from_canvas(p, geometry), SAMPLE_THRESHOLD) for p in samples.probabilities]
        )
        if self._binary:
            dice = [_dice_at_thresholds(_by_level(level, truth)) for truth in truths]
            agree = [_dice_at_thresholds(_by_level(level, mask)) for mask in masks]
        else:
            dice = [np.array([class_dice(labels, rater)]) for rater in references]
            agree = [np.array([class_dice(labels, mask)]) for mask in masks]
        self._dice.append(np.mean(dice, axis=0))
        self._agreement.append(np.mean(agree, axis=0))
        self.energy.append(class_fair_ged(masks, references))
        self.groups.append(group)
        self.n_images += 1

    def _count(
        self, level: Index, score: Float32, truths: list[NDArray[np.bool_]], index: int
    ) -> None:
        bins = bin_of(score)
        self._scores[index] += len(truths) * np.bincount(bins, score.ravel(), BINS)
        shape = self._counts.shape[1:]
        cell = 2 * (level * BINS + bins)
        for truth in truths:
            counts = np.bincount(cell + truth.ravel(), minlength=int(np.prod(shape)))
            self._counts[index] += counts.reshape(shape)

    def usual_dice(self) -> Float64:
        """Return the Dice of each image's mean mask at 0.5."""
        index = THRESHOLDS.index(DEFAULT_THRESHOLD) if self._binary else 0
        return np.stack(self._dice)[:, index]

    def best_threshold(self) -> int:
        """Return the index of the threshold chosen by `choose_threshold`."""
        return choose_threshold(np.stack(self._dice), self.groups)

    def quality(self, k: int) -> QualityMap | None:
        """Return the map from sample agreement to Dice at ``THRESHOLDS[k]``."""
        agreement, found = (np.stack(each)[:, k] for each in (self._agreement, self._dice))
        return fit_quality(agreement, found)

    def agreement(self, index: int, k: int) -> Frequency:
        """Return the agreement rate of the mean mask at ``THRESHOLDS[k]``, by index of sigma."""
        outside, inside = self._counts[index, : k + 1], self._counts[index, k + 1 :]
        return Frequency(
            count=self._counts[index].sum(axis=(0, 2)),
            hits=outside[..., 0].sum(axis=0) + inside[..., 1].sum(axis=0),
            score=self._scores[index],
        )


def _by_level(level: Index, mask: Mask) -> Float64:
    """Return the ``(levels, 2)`` counts of pixels outside and inside a mask."""
    inside = mask.ravel().astype(np.intp)
    counts = np.bincount(2 * level + inside, minlength=2 * (len(THRESHOLDS) + 1))
    return counts.reshape(-1, 2).astype(np.float64)


def _dice_at_thresholds(levels: Float64) -> Float64:
    """Return the Dice at each threshold from ``(levels, 2)`` counts of ground and foreground."""
    reaching = levels[::-1].cumsum(axis=0)[::-1][1:]
    both, drawn, wanted = reaching[:, 1], reaching.sum(axis=1), levels[:, 1].sum()
    dice: Float64 = np.ones(len(reaching))
    np.divide(2 * both, drawn + wanted, out=dice, where=drawn + wanted > 0)
    return dice


def _merged(x: Float64, y: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Merge neighbours in order of least squared error until few are left."""
    while len(x) > MAX_KNOTS:
        cost = weight[:-1] * weight[1:] / (weight[:-1] + weight[1:]) * np.diff(y) ** 2
        at = int(cost.argmin())
        pair = slice(at, at + 2)
        total = weight[pair].sum()
        x[at], y[at] = (
            (x[pair] * weight[pair]).sum() / total,
            (y[pair] * weight[pair]).sum() / total,
        )
        weight[at] = total
        x, y, weight = (np.delete(values, at + 1) for values in (x, y, weight))
    return x, y


def _through(x: Float64, y: Float64) -> MonotoneMap:
    """Return the map through the points; constant for a single point."""
    y = np.maximum.accumulate(y)  # equal up to rounding
    if len(x) == 1:
        return MonotoneMap(x=(0.0, 1.0), y=(float(y[0]),) * 2)
    rising = np.concatenate([[True], np.diff(x) > 0])
    return MonotoneMap(x=tuple(map(float, x[rising])), y=tuple(map(float, y[rising])))
