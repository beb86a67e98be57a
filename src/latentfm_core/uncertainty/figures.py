"""Metrics of the displayed mean mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentfm_core.measures.size import area, diameter
from latentfm_core.types import Summary
from latentfm_core.uncertainty.grid import grid_step, on_grid
from latentfm_core.uncertainty.size import FULL_SHARE, outlines_nothing


@dataclass(frozen=True)
class MaskFigures:
    """Metrics of the mean mask of one plane; several classes count as one foreground.

    Attributes
    ----------
    share
        Of the image, in [0, 1].
    area, diameter
        In (square) units of the pixel size; the diameter is that of the largest piece.
    expected_dice
        Expected quality of the mask; None if undefined: for an empty mask, one that
        covers the image, a single sample, and an image out of domain.
    """

    share: float
    area: float
    diameter: float
    expected_dice: float | None

    @property
    def empty(self) -> bool:
        """Whether the mask has no foreground pixel."""
        return self.share == 0

    @property
    def full(self) -> bool:
        """Whether the mask covers (nearly) the whole image."""
        return self.share >= FULL_SHARE


def mask_figures(summary: Summary, spacing: tuple[float, float] = (1.0, 1.0)) -> MaskFigures:
    """Return the metrics of the mean mask of one plane.

    Parameters
    ----------
    spacing
        Pixel size (row, column).
    """
    mask = summary.mean_mask
    pixels = int(np.count_nonzero(mask))
    share = pixels / mask.size
    step = grid_step((mask.shape[0], mask.shape[1]))
    coarse = on_grid(mask, step) != 0
    return MaskFigures(
        share=share,
        area=area(pixels, spacing),
        diameter=diameter(coarse, (spacing[0] * step, spacing[1] * step)),
        expected_dice=None if agreement_is_uninformative(summary) else summary.expected_dice,
    )


def agreement_is_uninformative(summary: Summary) -> bool:
    """Return whether the mean mask is empty or covers the image, or the image is out of domain.

    The samples then agree because nothing was found, or because all misread the image; their
    agreement is not a measure of quality.
    """
    return summary.out_of_domain or outlines_nothing(summary.mean_mask)
