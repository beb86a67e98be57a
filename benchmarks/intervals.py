"""Bootstrap intervals of the mean Dice of evaluations.

    python -m benchmarks.intervals runs/busi_box/per_image.csv ... [--groups groups.csv set]

Images are drawn with replacement, or whole groups where a CSV file with the columns ``image`` and a
group column is given. The interval holds the middle 95 % of the means.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger("benchmarks.intervals")

DRAWS = 2000


def interval(
    values: NDArray[np.float64], groups: NDArray[np.intp], seed: int = 0
) -> tuple[float, float, float]:
    """Return mean, lower and upper end of the 95 % bootstrap interval of the mean.

    Parameters
    ----------
    values
        ``(N,)``, one figure for each image.
    groups
        ``(N,)``, the number of the group of each image; groups are drawn as a whole.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    sums = np.bincount(groups, weights=values, minlength=count)
    sizes = np.bincount(groups, minlength=count)
    drawn = rng.integers(count, size=(DRAWS, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def read_column(path: Path, name: str, column: str) -> dict[str, str]:
    """Return a column of a CSV file by that of the names."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return {row[name]: row[column] for row in csv.DictReader(stream)}


def main() -> int:
    """Print a line for each file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="per_image.csv of latentfm-evaluate")
    parser.add_argument("--figure", default="dice", help="column (default: dice)")
    parser.add_argument("--groups", nargs=2, metavar=("FILE", "COLUMN"), help="CSV of groups")
    args = parser.parse_args()
    known = read_column(Path(args.groups[0]), "image", args.groups[1]) if args.groups else {}
    for path in args.files:
        found = read_column(path, "name", args.figure)
        names = [known.get(name, name) for name in found]
        groups = np.unique(np.array(names), return_inverse=True)[1]
        mean, low, high = interval(np.array([float(v) for v in found.values()]), groups)
        logger.info("%s: %.3f [%.3f, %.3f], %d images", path, mean, low, high, len(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
