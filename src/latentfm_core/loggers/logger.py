"""The interface of all loggers, and the import of their libraries."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from latentfm_core.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """Position in a run.

    Attributes
    ----------
    epoch, step
        Finished epochs (from 1) and optimiser steps of that stage.
    """

    stage: str
    epoch: int
    step: int


class Logger(Protocol):
    """Receives metrics and pictures of a run."""

    def metrics(self, at: Point, values: Mapping[str, float]) -> None:
        """Record the metrics of an epoch, keyed like the columns of ``log.csv``."""

    def picture(self, at: Point, name: str, path: Path) -> None:
        """Record the picture in the file `path`."""

    def close(self) -> None:
        """Write everything that is buffered, and release the files."""


def check_installed(package: str, extra: str, option: str) -> None:
    """Raise `ConfigError` if an optional library is not installed, without importing it."""
    if importlib.util.find_spec(package) is None:
        raise _missing(package, extra, option)


def library(module: str, extra: str, option: str) -> Any:
    """Import an optional library; raise `ConfigError` if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(module, extra, option) from None


_TITLES = {"tensorboard": "TensorBoard", "wandb": "Weights & Biases", "mlflow": "MLflow"}


def _missing(module: str, extra: str, option: str) -> ConfigError:
    name = _TITLES.get(extra, module)
    return ConfigError(
        f"{name} is not installed: pip install 'napari-latentfm[{extra}]', or leave {option} out."
    )
