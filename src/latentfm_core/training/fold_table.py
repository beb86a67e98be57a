"""Table of a cross-validation: validation figures of every fold, mean and standard deviation."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.datasets.folds import FILE, FOLDER, Folds, read_folds
from latentfm_core.errors import ModelFolderError
from latentfm_core.files.atomic import write_text
from latentfm_core.model_io.card import ModelCard, read_card
from latentfm_core.torchrun import read_launch
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.trained_on import read_parent_images, read_signatures

CSV = "cross_validation.csv"
JSON = "cross_validation.json"


@dataclass(frozen=True)
class CrossValidated:
    """Finished folds of a cross-validation.

    Attributes
    ----------
    cards
        Card of each finished fold, by its number.
    folds
        All folds.
    trained_before
        How many images of the folds the model that they started from was trained on.
    """

    cards: dict[int, ModelCard]
    folds: Folds
    trained_before: int = 0

    @property
    def complete(self) -> bool:
        """Whether every fold is finished."""
        return len(self.cards) == len(self.folds.folds)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the validation figures that every fold has."""
        names = [set(card.metrics) for card in self.cards.values()]
        return tuple(sorted(set.intersection(*names))) if names else ()

    def mean(self, figure: str) -> float:
        """Return the mean of a figure over the folds."""
        return statistics.fmean(self._values(figure))

    def std(self, figure: str) -> float:
        """Return the sample standard deviation over the folds; NaN with a single one."""
        values = self._values(figure)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def _values(self, figure: str) -> list[float]:
        return [card.metrics[figure] for card in self.cards.values()]

    def rows(self, digits: int = 6) -> list[list[str]]:
        """Return the table as text: header, a row for each fold, mean and standard deviation."""
        table = [["fold", "train", "val", *self.figures]]
        for fold, card in sorted(self.cards.items()):
            values = [f"{card.metrics[name]:.{digits}f}" for name in self.figures]
            table.append([str(fold), str(card.data.n_train), str(card.data.n_val), *values])
        for name, of in (("mean", self.mean), ("std", self.std)):
            table.append([name, "", "", *(f"{of(figure):.{digits}f}" for figure in self.figures)])
        return table

    def to_text(self) -> str:
        """Return the table with aligned columns, for the log."""
        rows = self.rows(digits=4)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )


def finished_folds(out: Path, folds: Folds) -> CrossValidated:
    """Read the finished folds in `out`; if all are, write the table as CSV and JSON.

    Otherwise an older table is removed, since it is not of these folds.

    Raises
    ------
    OutputError
        If the files cannot be written.
    """
    cards = {}
    for fold in range(len(folds.folds)):
        try:
            cards[fold] = read_card(out / FOLDER.format(fold))
        except ModelFolderError:
            continue  # not finished
    table = CrossValidated(cards, folds, _trained_before(out, folds))
    if not read_launch().first:
        return table
    if table.complete:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(table.rows())
        write_text(out / CSV, stream.getvalue())
        write_text(out / JSON, _json(table))
    else:
        for name in (CSV, JSON):
            (out / name).unlink(missing_ok=True)
    return table


def _trained_before(out: Path, folds: Folds) -> int:
    used: set[str] = set()
    before: set[str] = set()
    for fold in range(len(folds.folds)):
        folder = out / FOLDER.format(fold) / TRAINING
        used |= set(read_signatures(folder).values())
        before |= read_parent_images(folder).keys()
    return len(used & before)


def update_table(fold: Path) -> None:
    """Update the table of the cross-validation whose fold in the folder `fold` was trained alone.

    Raises
    ------
    OutputError
        If the files cannot be written.
    """
    out = fold.resolve().parent
    if fold.resolve().name.startswith(FOLDER.format("")) and (out / FILE).is_file():
        finished_folds(out, read_folds(out / FILE))


def _json(table: CrossValidated) -> str:
    listed = [
        {
            "fold": fold,
            "model": {"id": card.id, "sha256": card.weights_sha256},
            "n_train": card.data.n_train,
            "n_val": card.data.n_val,
            "metrics": {name: _number(card.metrics[name]) for name in table.figures},
        }
        for fold, card in sorted(table.cards.items())
    ]
    content: dict[str, Any] = {
        "schema_version": 1,
        "folds": listed,
        "mean": {name: _number(table.mean(name)) for name in table.figures},
        "std": {name: _number(table.std(name)) for name in table.figures},
    }
    if table.trained_before:
        content["trained_before"] = table.trained_before
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
