"""How much a report shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from latentfm_core.config.base import (
    Settings,
)


class ReportConfig(Settings):
    """How much a report shows; its file stays small however large the data set is.

    Attributes
    ----------
    cases
        Images with the highest, and with the lowest, Dice that are shown with their outlines.
    samples
        Samples outlined in each of them, at most.
    picture_side, thumbnail_side
        Longest side in pixels of these pictures, and of those in the table.
    rows
        Images in the table, at most: those with the lowest Dice.
    points
        Of a scatter plot or a curve, at most; evenly chosen where there are more.
    grids
        Validation pictures of a training run, at most: the first, the best, the last, and some
        evenly in between.
    grid_width
        Their width in pixels.
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
"""The usual size of a report."""
