"""Paired comparison of rows over the test images.

References
----------
F. Wilcoxon: Individual comparisons by ranking methods. Biometrics Bulletin 1 (1945).
S. Holm: A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6 (1979).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from latentfm_core.errors import DatasetError

Values = Mapping[str, float]
"""Figure of each image by its name."""


@dataclass(frozen=True)
class Comparison:
    """A row against the reference row.

    Attributes
    ----------
    label
        The row.
    difference
        Mean over the images of row minus reference.
    higher, lower
        Images (or groups) on which the row has the higher and the lower value.
    p, p_holm
        Two-sided p of the Wilcoxon signed-rank test, and corrected for all rows.
    """

    label: str
    difference: float
    higher: int
    lower: int
    p: float
    p_holm: float


def read_figure(path: Path, figure: str) -> dict[str, float]:
    """Return a column of ``per_image.csv`` by image; NaN where it is not defined.

    Raises
    ------
    DatasetError
        If the file or the column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return {row["name"]: float(row[figure] or "nan") for row in csv.DictReader(stream)}
    except (OSError, KeyError, ValueError):
        raise DatasetError(
            f"{path} cannot be read or has no column {figure}. Choose another --figures, or "
            "evaluate the row again with --overwrite."
        ) from None


def over_seeds(seeds: Sequence[Values]) -> dict[str, float]:
    """Return the mean over the seeds for each image that all of them have."""
    common = set.intersection(*(set(values) for values in seeds))
    means = {name: math.fsum(v[name] for v in seeds) / len(seeds) for name in sorted(common)}
    return {name: value for name, value in means.items() if not math.isnan(value)}


def by_group(values: Values, groups: Mapping[str, str]) -> dict[str, float]:
    """Return the mean of each group; images without a group are their own."""
    members: dict[str, list[float]] = {}
    for name, value in values.items():
        members.setdefault(groups.get(name, name), []).append(value)
    return {name: math.fsum(found) / len(found) for name, found in members.items()}


def compare(rows: Mapping[str, Values], reference: str) -> list[Comparison]:
    """Compare each row with the reference, on the images that both have.

    Parameters
    ----------
    rows
        Figure of each image by row.
    reference
        Label of the row to compare with.
    """
    found = []
    for label, values in rows.items():
        if label == reference:
            continue
        common = sorted(values.keys() & rows[reference].keys())
        differences = np.array([values[name] - rows[reference][name] for name in common])
        found.append((label, differences, _wilcoxon(differences)))
    corrected = holm([p for _, _, p in found])
    return [
        Comparison(
            label,
            float(differences.mean()) if differences.size else math.nan,
            int(np.count_nonzero(differences > 0)),
            int(np.count_nonzero(differences < 0)),
            p,
            p_holm,
        )
        for (label, differences, p), p_holm in zip(found, corrected, strict=True)
    ]


def _wilcoxon(differences: np.ndarray) -> float:
    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's step-down procedure, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected
