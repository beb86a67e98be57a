"""Pictures collected during an evaluation: thumbnails of images, and a few full cases."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from latentfm_core.config import REPORT, ReportConfig, SamplingConfig
from latentfm_core.evaluation.evaluate import Outcome, agreement_bins, probability_bins
from latentfm_core.images.intensity import to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.reliability import ReliabilityBins
from latentfm_core.report.pictures import (
    UInt8,
    confidence_colours,
    data_uri,
    eight_bit,
    fitted_size,
    outline,
    shrunk,
    shrunk_mask,
)
from latentfm_core.types import Bool, Mask


@dataclass(frozen=True)
class CasePictures:
    """Pictures of one image, small enough to keep.

    Attributes
    ----------
    width, height
        Of both pictures, in pixels.
    image, confidence
        Data URIs.
    experts, mean, samples
        Paths of outlines, for each mask one path per class (empty if there is none).
    """

    width: int
    height: int
    image: str
    confidence: str
    experts: tuple[tuple[str, ...], ...]
    mean: tuple[str, ...]
    samples: tuple[tuple[str, ...], ...]


def anchor(index: int) -> str:
    """Return the HTML anchor of an image's row."""
    return f"image-{index}"


class Gallery:
    """Collects the pictures of a report in bounded memory."""

    def __init__(
        self, segmenter: Segmenter, settings: SamplingConfig, report: ReportConfig = REPORT
    ) -> None:
        self._segmenter = segmenter
        self._raw_settings = settings.model_copy(update={"calibrated": False})
        self._ranked: list[tuple[float, int]] = []
        self._pictures: dict[int, CasePictures] = {}
        self._thumbnails: dict[int, str] = {}
        self.report = report
        self.classes = segmenter.card.config.model.classes
        self.colours = segmenter.card.config.model.class_colours
        self.calibrated = False
        self.raw_reliability, self.raw_agreement = (ReliabilityBins.empty() for _ in range(2))

    def add(self, outcome: Outcome) -> None:
        """Add the next image."""
        index = len(self._ranked)
        bisect.insort(self._ranked, (outcome.scores.dice, index))
        rows, cases = set(self.rows()), self._extremes()
        if index in rows or index in cases:
            rgb = eight_bit(to_rgb(outcome.case.image))
            self._thumbnails[index] = data_uri(
                shrunk(rgb, fitted_size(rgb.shape, self.report.thumbnail_side))
            )
            if index in cases:
                self._pictures[index] = self._case(rgb, outcome)
        for left in self._thumbnails.keys() - rows:
            del self._thumbnails[left]
        for left in self._pictures.keys() - cases:
            del self._pictures[left]
        if outcome.summary.calibrated:
            self._add_raw(outcome)

    def _add_raw(self, outcome: Outcome) -> None:
        """Bin the uncalibrated outputs."""
        self.calibrated = True
        raw = self._segmenter.summarise(outcome.samples, self._raw_settings)
        raters = outcome.case.references
        self.raw_reliability = self.raw_reliability + probability_bins(raw, raters)
        self.raw_agreement = self.raw_agreement + agreement_bins(raw, raters)

    def worst(self) -> list[int]:
        """Return the images with the lowest Dice, the worst first; at most half of all."""
        count = min(self.report.cases, -(-len(self._ranked) // 2))
        return [index for _, index in self._ranked[:count]]

    def best(self) -> list[int]:
        """Return the images with the highest Dice, the best first, and none of the worst."""
        count = min(self.report.cases, len(self._ranked) // 2)
        return [index for _, index in self._ranked[::-1][:count]]

    def rows(self) -> list[int]:
        """Return the images of the table in evaluation order."""
        return sorted(index for _, index in self._ranked[: self.report.rows])

    def pictures(self, index: int) -> CasePictures:
        """Return the pictures of an image that is among the best or the worst."""
        return self._pictures[index]

    def thumbnail(self, index: int) -> str:
        """Return the data URI of an image of the table."""
        return self._thumbnails[index]

    def _extremes(self) -> set[int]:
        """Return the images that may still be among the best or the worst."""
        count = self.report.cases
        ends = self._ranked[:count] + self._ranked[max(0, len(self._ranked) - count) :]
        return {index for _, index in ends}

    def _case(self, rgb: UInt8, outcome: Outcome) -> CasePictures:
        summary = outcome.summary
        size = fitted_size(rgb.shape, self.report.picture_side)
        confidence = confidence_colours(shrunk(summary.confidence, size))
        return CasePictures(
            width=size[1],
            height=size[0],
            image=data_uri(shrunk(rgb, size)),
            confidence=data_uri(confidence),
            experts=tuple(self._outlines(mask, size) for mask in outcome.case.references),
            mean=self._outlines(summary.mean_mask, size),
            samples=tuple(
                self._outlines(mask, size) for mask in summary.sample_masks[: self.report.samples]
            ),
        )

    def _outlines(self, mask: Mask, size: tuple[int, int]) -> tuple[str, ...]:
        if len(self.classes) == 1:
            return (outline(shrunk_mask(mask, size)),)
        each: list[Bool] = [np.asarray(mask == k + 1) for k in range(len(self.classes))]
        return tuple(outline(shrunk_mask(one, size)) for one in each)
