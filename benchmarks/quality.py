"""Compare predictors of mean mask quality, and maps from them to Dice.

Reads the output of `latentfm-evaluate --confidence raw` for *validation* images, since this is
where the choice is made::

    latentfm-evaluate ... --part val --model isic2018 --confidence raw --out runs/isic2018-val
    python -m benchmarks.quality runs/isic2018-val
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from latentfm_core.metrics.overlap import Float64
from latentfm_core.output.tables import TABLE
from latentfm_core.uncertainty.expected_dice import fit_quality

FIGURES: dict[str, Callable[[dict[str, str]], float]] = {
    "mean confidence": lambda row: float(row["confidence"]),
    "1 - diversity (mean IoU of two samples)": lambda row: 1 - float(row["diversity"]),
    "agreement (mean Dice with the mean mask)": lambda row: float(row["expected_dice"]),
}
FOLDS, REPEATS, GROUPS = 5, 20, 20

Map = Callable[[Float64], Float64]


def as_it_is(_x: Float64, _y: Float64) -> Map:
    """Return the identity map from agreement to Dice."""
    return lambda x: x


def of_two_numbers(x: Float64, y: Float64) -> Map:
    """Return the map of `fit_quality`, the one in use."""
    fitted = fit_quality(x, y)
    return as_it_is(x, y) if fitted is None else np.vectorize(fitted)


def isotonic(x: Float64, y: Float64) -> Map:
    """Return an isotonic regression on the means of groups of images, through 0."""
    order = np.argsort(x)
    parts = np.array_split(order, max(1, len(x) // max(10, len(x) // GROUPS)))
    at, means = (np.array([values[part].mean() for part in parts]) for values in (x, y))
    rising = isotonic_regression(means).x
    return lambda new: np.interp(new, np.concatenate([[0], at]), np.concatenate([[0], rising]))


MAPS = {"as it is": as_it_is, "two numbers (in use)": of_two_numbers, "isotonic": isotonic}


def cross_validated(fit: Callable[[Float64, Float64], Map], x: Float64, y: Float64) -> float:
    """Return the mean absolute error on held-out images."""
    rng, errors = np.random.default_rng(0), []
    for _ in range(REPEATS):
        order = rng.permutation(len(x))
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            rest = np.setdiff1d(order, held)
            errors.append(np.abs(fit(x[rest], y[rest])(x[held]) - y[held]).mean())
    return float(np.mean(errors))


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("evaluation", type=Path, help="folder that latentfm-evaluate wrote")
    args = parser.parse_args(argv)
    with (args.evaluation / TABLE).open(newline="", encoding="utf-8") as file:
        every = list(csv.DictReader(file))
    # An empty or full mean mask has no expected Dice.
    rows = [row for row in every if row["expected_dice"]]
    dice = np.array([float(row["dice"]) for row in rows])
    print(f"{len(rows)} of {len(every)} images, mean Dice {dice.mean():.4f}\n")
    print("| figure | rank correlation with Dice |\n| --- | --- |")
    for name, figure in FIGURES.items():
        rho = spearmanr([figure(row) for row in rows], dice).statistic
        print(f"| {name} | {rho:.3f} |")
    agreement = np.array([float(row["expected_dice"]) for row in rows])
    print(f"\n| map ({FOLDS}-fold, {REPEATS} times) | mean error of the expected Dice |")
    print("| --- | --- |")
    for name, fit in MAPS.items():
        print(f"| {name} | {cross_validated(fit, agreement, dice):.3f} |")


if __name__ == "__main__":
    main()
