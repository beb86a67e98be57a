"""Training log: CSV, HTML report, optional loggers, and a line for each epoch."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentfm_core.datasets.summary import duration
from latentfm_core.files.optional import best_effort
from latentfm_core.loggers.csv_table import CsvTable, read_table
from latentfm_core.loggers.logger import Logger, Point
from latentfm_core.report.training import TITLES, TrainingReport
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.meters import EpochReport
from latentfm_core.training.stages import STAGES
from latentfm_core.training.step_timer import PARTS

logger = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Seconds between two reports while there is no validation."""

COLUMNS = (
    "stage",
    "epoch",
    "step",
    "learning_rate",
    "seconds",
    "images_per_second",
    "outside_network",
    *(f"{part}_share" for part in PARTS),
    "loss",
    "mse",
    "kl",
    "dice",
    "velocity",
    "endpoint",
    "auxiliary",
    "val_dice",
    "val_iou",
    "val_sample_dice",
    "val_ged",
)


class RunLog:
    """Passes each epoch to ``log.csv``, to the other loggers and to ``report.html``.

    The report shows the table with the pictures of the validation; it is rewritten after each
    validation, every minute, and at the end.

    Parameters
    ----------
    position
        Progress of the run, which its owner keeps up to date. Rows of later epochs, which a
        killed process wrote after its last checkpoint, are left out, since those epochs are
        repeated.
    loggers
        Further loggers by name. One that fails is reported once; training continues.
    classes
        Colours of the pictures by class, as `TrainingReport` takes them.
    """

    def __init__(
        self,
        folder: Path,
        position: Position,
        loggers: Mapping[str, Logger] | None = None,
        classes: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._position = folder, position
        columns, rows = read_table(folder / "log.csv", COLUMNS)
        kept = [row for row in rows if _is_before(row, position)]
        self._table = CsvTable(folder / "log.csv", columns, kept)
        self._loggers: dict[str, Logger] = {"log.csv": self._table, **(loggers or {})}
        self._report = TrainingReport(folder, classes=classes)
        self._reported = -math.inf

    def add(self, report: EpochReport, picture: Path | None = None) -> None:
        """Record an epoch, with the picture of its validation if there is one."""
        at = Point(report.stage, report.epoch, report.step)
        values = {
            "learning_rate": report.learning_rate,
            "seconds": report.seconds,
            "images_per_second": report.images_per_second,
            "outside_network": report.share_outside(),
            **{f"{part}_share": share for part, share in report.shares.items()},
            **report.losses,
            **report.validation,
        }
        for name, each in self._loggers.items():
            with best_effort(self._folder / name / "metrics"):
                each.metrics(at, values)
                if report.validation and picture is not None and picture.is_file():
                    each.picture(at, "samples", picture)
        best = bool(report.validation) and self._position.stale == 0
        logger.info("%s", epoch_line(report, best))
        if report.validation or time.monotonic() - self._reported > REPORT_SECONDS:
            self._show()

    def _show(self) -> None:
        self._report.write(self._table.rows)
        self._reported = time.monotonic()

    def close(self) -> None:
        """Write the last epochs, and close all loggers."""
        if self._table.rows:
            self._show()
        for name, each in self._loggers.items():
            with best_effort(self._folder / name / "metrics"):
                each.close()


NAMES = {
    "val_dice": "Dice",
    "val_iou": "IoU",
    "val_sample_dice": "Dice of samples",
    "val_ged": "GED",
    "val_dice_none": "without a prompt",
    "val_dice_point": "point",
    "val_dice_box": "box",
}
"""Validation figures in the line of an epoch, by their columns."""


def epoch_line(report: EpochReport, best: bool = False) -> str:
    """Return a line about an epoch: progress, loss, validation, speed and time left.

    Parameters
    ----------
    best
        Whether the validation is the best of the run so far.
    """
    total = f" of {report.epochs}" if report.epochs else ""
    parts = [
        f"{TITLES.get(report.stage, report.stage)}, epoch {report.epoch}{total}: "
        f"loss {report.losses.get('loss', math.nan):.4f}"
    ]
    if report.validation:
        figures = [
            f"{word} {report.validation[key]:.3f}"
            for key, word in NAMES.items()
            if key in report.validation
        ]
        parts.append(f"validation {', '.join(figures)}{' (best so far)' if best else ''}")
    left = f", {duration(report.seconds_left)} left" if report.seconds_left > 0 else ""
    parts.append(f"{report.images_per_second:.1f} images/s{left}")
    return "; ".join(parts)


def _is_before(row: dict[str, Any], position: Position) -> bool:
    try:
        stage, step = STAGES.index(str(row["stage"])), int(row["step"])
    except (KeyError, ValueError, TypeError):
        return False
    here = STAGES.index(position.stage) if position.stage in STAGES else len(STAGES)
    return stage < here or (stage == here and step <= position.step)
