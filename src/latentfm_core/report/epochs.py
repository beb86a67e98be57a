"""Reading the log of a training run, as it stands in the file and in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""An epoch: text or number by column, empty or missing where there is no such figure."""


def number(row: Row, column: str) -> float:
    """Return a figure of an epoch, NaN if it has none."""
    try:
        return float(row.get(column, ""))
    except (ValueError, TypeError):
        return math.nan


def thinned(rows: Sequence[Row], column: str, most: int) -> list[tuple[float, float]]:
    """Return epoch and figure where there is one; about `most` of them, the last among these."""
    found = [(number(row, "epoch"), number(row, column)) for row in rows]
    known = [(epoch, value) for epoch, value in found if math.isfinite(value)]
    step = max(1, -(-len(known) // most))
    return known[::-step][::-1]
