"""Bootstrap intervals of the mean Dice of evaluations.

    python -m benchmarks.intervals runs/busi_box/per_image.csv ... [--groups groups.csv set]
    python -m benchmarks.intervals runs/new/per_image.csv --minus runs/old/per_image.csv

Images are drawn with replacement, or whole groups if a CSV file with the columns ``image`` and a
group column is given. The interval contains the middle 95 % of the means. Two figures that tell
finding an object from outlining it follow: the share of images below `MISSED`, and the mean of the
others. With another evaluation of the same images, the mean of the paired differences is printed.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from pathlib import Path

import numpy as np

from benchmarks.prompts.bootstrap import interval

logger = logging.getLogger("benchmarks.intervals")

MISSED = 0.1
"""A Dice below it means that another object was outlined, or none."""


def read_column(path: Path, name: str, column: str) -> dict[str, str]:
    """Return a column of a CSV file by that of the names."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return {row[name]: row[column] for row in csv.DictReader(stream)}


def read_scores(path: Path, column: str) -> list[tuple[str, float]]:
    """Return image name and figure of each line of an evaluation: an image, or one object of it."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row["name"], float(row[column])) for row in csv.DictReader(stream)]


def minus(
    scores: list[tuple[str, float]], others: list[tuple[str, float]]
) -> list[tuple[str, float]]:
    """Return the differences of two evaluations of the same images, in the same order."""
    if [name for name, _ in scores] != [name for name, _ in others]:
        raise SystemExit("The evaluations are of different images.")
    pairs = zip(scores, others, strict=True)
    return [(name, value - other) for (name, value), (_, other) in pairs]


def main() -> int:
    """Print a line for each file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="per_image.csv of latentfm-evaluate")
    parser.add_argument("--figure", default="dice", help="column (default: dice)")
    parser.add_argument("--groups", nargs=2, metavar=("FILE", "COLUMN"), help="CSV of groups")
    parser.add_argument("--minus", type=Path, metavar="FILE", help="per_image.csv to subtract")
    args = parser.parse_args()
    known = read_column(Path(args.groups[0]), "image", args.groups[1]) if args.groups else {}
    for path in args.files:
        scores = read_scores(path, args.figure)
        if args.minus:
            scores = minus(scores, read_scores(args.minus, args.figure))
        values = [value for _, value in scores]
        ends = interval(values, [known.get(name, name) for name, _ in scores])
        text = "" if ends is None else " [{:.3f}, {:.3f}]".format(*ends)
        images = len({name for name, _ in scores})
        if args.minus:
            logger.info("%s: %+.3f%s, %d images", path, np.mean(values), text, images)
            continue
        found = [value for value in values if value >= MISSED]
        missed = 1 - len(found) / len(values)
        others = f", others {np.mean(found):.3f}" if found and missed else ""
        logger.info(
            "%s: %.3f%s, %d images, %.1f %% below %g%s",
            *(path, np.mean(values), text, images, 100 * missed, MISSED, others),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
