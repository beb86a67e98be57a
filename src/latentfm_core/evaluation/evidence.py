"""Counts over validation images, from which a calibration is chosen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import Config, SamplingConfig
from latentfm_core.evaluation.frequency import BINS, Frequency, Index, bin_of
from latentfm_core.evaluation.standard_error import SIGNIFICANT, Groups, standard_error
from latentfm_core.images.canvas import from_canvas
from latentfm_core.metrics.classes import class_dice, class_fair_ged
from latentfm_core.metrics.overlap import Float64
from latentfm_core.prompts import recorded_group
from latentfm_core.types import Float32, Mask, SampleSet, is_out_of_domain
from latentfm_core.uncertainty.calibration import (
    Calibration,
    neighbourhood,
    neighbourhood_confidence,
    sigma_on,
)
from latentfm_core.uncertainty.expected_dice import QualityMap, fit_quality
from latentfm_core.uncertainty.size import outlines_nothing
from latentfm_core.uncertainty.summary import (
    DEFAULT_THRESHOLD,
    SAMPLE_THRESHOLD,
    USUAL_SCALE,
    harden,
    usual_threshold,
)

SIGMA_SHARES = (0.0, 1 / 128, 1 / 64, 1 / 32, 1 / 16)
"""Candidates for sigma, as shares of the canvas side."""
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


class Evidence:
    """Counts over pixels and raters of samples at one noise scale, for comparing all candidates.

    The mean probability is only kept as its level, the number of `THRESHOLDS` it reaches. A
    pixel of level l is in the mean mask at ``THRESHOLDS[k]`` if l > k, so one pass over the
    images covers all thresholds. Labels of several classes have no threshold: there the truth
    is "the mean mask is right" and every level is 1.
    """

    def __init__(self, config: Config) -> None:
        self.n_images = 0
        self.foreground = Frequency.empty()
        self._sigmas = sigmas = tuple(share * config.data.size for share in SIGMA_SHARES)
        self._binary = config.model.mask_channels == 1
        self._counts = np.zeros((len(sigmas), len(THRESHOLDS) + 1, BINS, 2))
        self._size, self._refined, self._boxed = config.data.size, False, False
        self._scores = np.zeros((len(sigmas), BINS))
        # Per image and threshold; one entry with several classes. NaN: the agreement is unknown.
        self._dice: list[Float64] = []
        self._agreement: list[Float64] = []
        self.energy: list[float] = []
        self.groups: list[str | None] = []

    def add(self, samples: SampleSet, references: Mask, group: str | None) -> None:
        """Count an image: its samples, its raters' masks, and its group."""
        mean, geometry = samples.probabilities.mean(axis=0, dtype=np.float32), samples.geometry
        native = np.clip(from_canvas(mean, geometry), 0.0, 1.0)
        outside = is_out_of_domain(samples.domain_score)
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
        self._refined |= bool(samples.settings.get("refine"))
        self._boxed |= recorded_group(samples.prompt) == "box"
        for index, sigma in enumerate(self._sigmas):
            q = from_canvas(neighbourhood(mean, sigma_on(geometry, sigma, self._size)), geometry)
            score = neighbourhood_confidence(np.clip(q, 0.0, 1.0))
            self._count(level, score, truths, index)
        masks = np.stack(
            [harden(from_canvas(p, geometry), SAMPLE_THRESHOLD) for p in samples.probabilities]
        )
        if self._binary:
            dice = [_dice_at_thresholds(_by_level(level, truth)) for truth in truths]
            agree = [_dice_at_thresholds(_by_level(level, mask)) for mask in masks]
            drawn: Iterable[Mask] = (np.asarray(level > k) for k in range(len(THRESHOLDS)))
        else:
            dice = [np.array([class_dice(labels, rater)]) for rater in references]
            agree = [np.array([class_dice(labels, mask)]) for mask in masks]
            drawn = [labels]
        self._dice.append(np.mean(dice, axis=0))
        # Where `summarise` gives no expected Dice, none is fitted.
        known = [not (outside or outlines_nothing(mask)) for mask in drawn]
        self._agreement.append(np.where(known, np.mean(agree, axis=0), np.nan))
        self.energy.append(class_fair_ged(masks, references))
        self.groups.append(group)
        self.n_images += 1

    def fit(self, settings: SamplingConfig, part: str = "") -> Calibration:
        """Return the calibration of at least one image; see `fit_calibration`.

        Parameters
        ----------
        settings
            Settings of the samples, with their noise scale.
        part
            Source of the images, for the card.
        """
        best = self.best_threshold() if self._binary else 0
        fits = [self.agreement(index, best) for index in range(len(self._sigmas))]
        chosen = max(range(len(fits)), key=lambda index: fits[index].auroc())
        return Calibration(
            sigma=self._sigmas[chosen],
            confidence=fits[chosen].fit(),
            probability=self.foreground.fit() if self._binary else None,
            threshold=THRESHOLDS[best] if self._binary else DEFAULT_THRESHOLD,
            noise_scale=settings.noise_scale or USUAL_SCALE,
            quality=self.quality(best) if settings.n_samples > 1 else None,
            box_aligned=self._boxed,
            part=part,
            n_images=self.n_images,
            n_samples=settings.n_samples,
            steps=settings.ode_steps,
            solver=settings.solver,
        )

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
        """Return the Dice of each image's mean mask at the usual threshold."""
        index = THRESHOLDS.index(usual_threshold(self._refined)) if self._binary else 0
        return np.stack(self._dice)[:, index]

    def best_threshold(self) -> int:
        """Return the index of the threshold chosen by `choose_threshold`."""
        usual = usual_threshold(self._refined)
        return choose_threshold(np.stack(self._dice), self.groups, usual)

    def quality(self, k: int) -> QualityMap | None:
        """Return the map from sample agreement to Dice at ``THRESHOLDS[k]``."""
        agreement, found = (np.stack(each)[:, k] for each in (self._agreement, self._dice))
        known = ~np.isnan(agreement)
        return fit_quality(agreement[known], found[known])

    def agreement(self, index: int, k: int) -> Frequency:
        """Return the agreement rate of the mean mask at ``THRESHOLDS[k]``, by index of sigma."""
        outside, inside = self._counts[index, : k + 1], self._counts[index, k + 1 :]
        return Frequency(
            count=self._counts[index].sum(axis=(0, 2)),
            hits=outside[..., 0].sum(axis=0) + inside[..., 1].sum(axis=0),
            score=self._scores[index],
        )


def choose_threshold(
    dice: Float64, groups: Groups | None = None, usual: float = DEFAULT_THRESHOLD
) -> int:
    """Return the index of the threshold with the best mean Dice, or that of the usual one.

    Any other value needs a mean gain of more than `SIGNIFICANT` standard errors of the
    paired differences between images (`standard_error`). Dice is flat near its optimum, so the
    maximum over a few hundred images is mostly chance: halves of one validation part chose 0.25
    and 0.55.

    Parameters
    ----------
    dice
        ``(images, len(THRESHOLDS))``, Dice of each validation image at each threshold.
    groups
        Group of each image; None makes an image its own group, the default for all.
    """
    middle = THRESHOLDS.index(usual)
    mean = dice.mean(axis=0)
    # Of equally good ones, the nearest to the usual one.
    best = max(range(len(THRESHOLDS)), key=lambda k: (mean[k], -abs(THRESHOLDS[k] - usual)))
    gain = dice[:, best] - dice[:, middle]
    return best if gain.mean() > SIGNIFICANT * standard_error(gain, groups) else middle


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
