"""TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentfm_core.images.read import read_image
from latentfm_core.loggers.logger import Point, check_installed, library

FOLDER = "tensorboard"
_NEEDED = ("tensorboard", "--tensorboard")


def check() -> None:
    """Raise `ConfigError` if TensorBoard is not installed."""
    check_installed("tensorboard", *_NEEDED)


class TensorBoardLogger:
    """Writes events to the folder ``tensorboard`` of a run.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        module = library("torch.utils.tensorboard", *_NEEDED)
        self._writer = module.SummaryWriter(str(folder / FOLDER))

    def metrics(self, at: Point, values: Mapping[str, float]) -> None:
        """Write a scalar for each metric, grouped by stage."""
        for name, value in values.items():
            self._writer.add_scalar(f"{at.stage}/{name}", value, at.step)

    def picture(self, at: Point, name: str, path: Path) -> None:
        """Write a picture at the step."""
        pixels = read_image(path).pixels
        self._writer.add_image(f"{at.stage}/{name}", pixels, at.step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
