"""Read the log of a training run, from the file or from memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""An epoch: text or number by column, empty or missing without a value."""


def number(row: Row, column: str) -> float:
    """Return a metric of an epoch, NaN if missing."""
    try:
        return float(row.get(column, ""))
    except (ValueError, TypeError):
        return math.nan


def thinned(rows: Sequence[Row], column: str, most: int) -> list[tuple[float, float]]:
    """Return epochs with their values; about `most`, always with the last."""
    found = [(number(row, "epoch"), number(row, column)) for row in rows]
    known = [(epoch, value) for epoch, value in found if math.isfinite(value)]
    step = max(1, -(-len(known) // most))
    return known[::-step][::-1]


def validated(rows: Sequence[Row]) -> list[Row]:
    """Return the epochs with a validation."""
    return [row for row in rows if math.isfinite(number(row, "val_dice"))]


def goodness(row: Row) -> float:
    """Return the metric that selects the weights, higher is better: -GED with several raters."""
    column, sign = ("val_ged", -1.0) if row.get("val_ged") else ("val_dice", 1.0)
    value = number(row, column)
    return sign * value if math.isfinite(value) else -math.inf


def best_of(rows: Sequence[Row]) -> int:
    """Return the index of the best of the validated `rows`; 0 if there are none."""
    return max(range(len(rows)), key=lambda place: goodness(rows[place]), default=0)
