"""Training log: CSV, HTML report, optional TensorBoard."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentfm_core.errors import ConfigError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.optional import not_essential
from latentfm_core.report.training import TrainingReport
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
    """Keeps one row per epoch in ``log.csv``, which is replaced as a whole each time.

    ``report.html`` shows the same with the pictures of the validation; it is rewritten after each
    validation, every minute, and at the end.

    Parameters
    ----------
    folder
        Folder of the log.
    tensorboard
        Whether to write events too.
    position
        Progress of the run. Rows of later epochs, which a killed process wrote after its last
        checkpoint, are left out, since those epochs are repeated.
    """

    def __init__(self, folder: Path, tensorboard: bool, position: Position) -> None:
        self._path = folder / "log.csv"
        self._columns, rows = _read(self._path)
        self._rows = [row for row in rows if _is_before(row, position)]
        self._report = TrainingReport(folder)
        self._reported = -math.inf
        self._writer: Any = _tensorboard_writer(folder) if tensorboard else None

    def add(self, report: EpochReport) -> None:
        """Write a report to the table, the log and TensorBoard."""
        row: dict[str, Any] = {
            "stage": report.stage,
            "epoch": report.epoch,
            "step": report.step,
            "learning_rate": f"{report.learning_rate:.3g}",
            "seconds": f"{report.seconds:.1f}",
            "images_per_second": f"{report.images_per_second:.1f}",
            "outside_network": f"{report.share_outside():.3f}",
        }
        row |= {f"{part}_share": f"{share:.3f}" for part, share in report.shares.items()}
        values = {**report.losses, **report.validation}
        row |= {key: f"{value:.5f}" for key, value in values.items()}
        self._rows.append(row)
        self._write()
        text = ", ".join(f"{key} {value:.4f}" for key, value in values.items())
        logger.info(
            "%s epoch %d: %s; %.1f images/s, %.0f %% of the time outside the network",
            report.stage,
            report.epoch,
            text,
            report.images_per_second,
            100 * report.share_outside(),
        )
        if self._writer is not None:
            with not_essential(self._path.with_name("tensorboard")):
                for key, value in values.items():
                    self._writer.add_scalar(f"{report.stage}/{key}", value, report.step)
        if report.validation or time.monotonic() - self._reported > REPORT_SECONDS:
            self._show()

    def _show(self) -> None:
        self._report.write(self._rows)
        self._reported = time.monotonic()

    def _write(self) -> None:
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, self._columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        with not_essential(self._path), atomic_path(self._path) as temporary:
            temporary.write_bytes(stream.getvalue().encode())

    def close(self) -> None:
        """Write the last epochs, and flush TensorBoard."""
        if self._rows:
            self._show()
        if self._writer is not None:
            with not_essential(self._path.with_name("tensorboard")):
                self._writer.close()


def _read(path: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Return columns and rows of the table that is there; an older version had fewer columns."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        return reader.fieldnames or COLUMNS, list(reader)
    except (OSError, csv.Error):
        return COLUMNS, []


def _is_before(row: dict[str, Any], position: Position) -> bool:
    try:
        stage, step = STAGES.index(str(row["stage"])), int(row["step"])
    except (KeyError, ValueError, TypeError):
        return False
    here = STAGES.index(position.stage) if position.stage in STAGES else len(STAGES)
    return stage < here or (stage == here and step <= position.step)


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "TensorBoard is not installed: pip install 'napari-latentfm[tensorboard]', "
            "or leave --tensorboard out."
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
