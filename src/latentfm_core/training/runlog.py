"""What a run writes for people: a CSV table, and TensorBoard events on request."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

from latentfm_core.errors import ConfigError
from latentfm_core.training.clock import PARTS
from latentfm_core.training.reports import EpochReport

logger = logging.getLogger(__name__)

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
    """Appends one row per epoch to ``log.csv``."""

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        self._path = folder / "log.csv"
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
        columns = self._columns()
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns or COLUMNS, extrasaction="ignore")
            if not columns:
                writer.writeheader()
            writer.writerow(row)
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
            for key, value in values.items():
                self._writer.add_scalar(f"{report.stage}/{key}", value, report.step)

    def _columns(self) -> list[str]:
        """Return those of the table that is there: an older version had fewer."""
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as stream:
            return next(csv.reader(stream), [])

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._writer is not None:
            self._writer.close()


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "TensorBoard is not installed: pip install 'napari-latentfm[tensorboard]', "
            "or leave --tensorboard out."
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))
