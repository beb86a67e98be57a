"""Settings of reports."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latentfm_core.config.base import Settings


class ReportConfig(Settings):
    """Limits on a report's content, which keep the file small for any data set.

    Attributes
    ----------
    cases
        Number of images with the highest, and with the lowest, Dice shown with outlines.
    samples
        Maximum samples outlined in each of them.
    picture_side, thumbnail_side
        Maximum side in pixels of these pictures, and of those in the table.
    rows
        Maximum images in the table: those with the lowest Dice.
    points
        Maximum points of a scatter plot or curve; evenly subsampled.
    grids
        Maximum validation pictures of a training run: the first, the best, the last, and evenly
        spaced ones.
    grid_width
        Width in pixels of the validation pictures.
    """

    cases: Annotated[int, Field(ge=0, le=100)] = 6
    samples: Annotated[int, Field(ge=0, le=64)] = 16
    picture_side: Annotated[int, Field(ge=64, le=1024)] = 384
    thumbnail_side: Annotated[int, Field(ge=32, le=256)] = 96
    rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    points: Annotated[int, Field(ge=2, le=100_000)] = 1000
    grids: Annotated[int, Field(ge=3, le=100)] = 12
    grid_width: Annotated[int, Field(ge=128, le=4096)] = 960


REPORT = ReportConfig()
"""Default report settings."""
