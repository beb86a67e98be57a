"""Coarser grid for the analysis of large results.

The samples of a large image are enlarged from the small canvas of the network: a grid of a
megapixel still has several points for each pixel of that canvas, and what is found on it is found
in a second.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from latentfm_core.types import Summary

GRID_PIXELS = 2**20

Array = TypeVar("Array", bound=np.ndarray[Any, Any])


def grid_step(shape: tuple[int, int]) -> int:
    """Return the grid spacing of a plane ``(H, W)`` in pixels."""
    return max(1, math.ceil(math.sqrt(shape[0] * shape[1] / GRID_PIXELS)))


def on_grid(values: Array, step: int) -> Array:
    """Return a view of ``(..., H, W)`` at the points of the grid, in the middle of each cell."""
    first = [min(step // 2, (length - 1) // 2) for length in values.shape[-2:]]
    return values[..., first[0] :: step, first[1] :: step]  # type: ignore[return-value]


def summary_on_grid(summary: Summary, step: int) -> Summary:
    """Return the maps of a summary at the points of the grid; expected Dice and kind are kept."""
    several = summary.class_confidence
    return replace(
        summary,
        mean_probability=on_grid(summary.mean_probability, step),
        mean_mask=on_grid(summary.mean_mask, step),
        variance=on_grid(summary.variance, step),
        confidence=on_grid(summary.confidence, step),
        sample_masks=on_grid(summary.sample_masks, step),
        class_confidence=None if several is None else on_grid(several, step),
    )
