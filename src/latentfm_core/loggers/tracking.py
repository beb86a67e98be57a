"""Choice of loggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.loggers import mlflow, tensorboard, wandb
from latentfm_core.loggers.logger import Logger
from latentfm_core.loggers.mlflow import MlflowLogger
from latentfm_core.loggers.tensorboard import TensorBoardLogger
from latentfm_core.loggers.wandb import WandbLogger, WandbMode


@dataclass(frozen=True)
class Tracking:
    """Loggers of a run besides ``log.csv`` and ``report.html``, which are always written.

    Attributes
    ----------
    wandb
        ``"offline"`` writes a W&B run to disk, ``"online"`` uploads it; None does neither.
    mlflow
        Tracking URI of MLflow, `latentfm_core.loggers.mlflow.LOCAL` for a local database;
        None does not use MLflow.
    """

    tensorboard: bool = False
    wandb: WandbMode | None = None
    mlflow: str | None = None

    def arguments(self) -> list[str]:
        """Return the arguments of ``latentfm-train`` that choose these loggers."""
        chosen = ["--tensorboard"] if self.tensorboard else []
        chosen += [] if self.wandb is None else ["--wandb", self.wandb]
        return chosen + ([] if self.mlflow is None else ["--mlflow", self.mlflow])

    def check(self) -> None:
        """Raise `ConfigError` if a library is not installed."""
        if self.tensorboard:
            tensorboard.check()
        if self.wandb is not None:
            wandb.check()
        if self.mlflow is not None:
            mlflow.check()

    def open(
        self, folder: Path, name: str, settings: Mapping[str, Any], *, resumed: bool
    ) -> dict[str, Logger]:
        """Return the loggers by name.

        Parameters
        ----------
        settings
            Nested settings to record, without paths.

        Raises
        ------
        ConfigError
            If one cannot start.
        """
        flat = dict(flattened(settings))
        opened: dict[str, Logger] = {}
        if self.tensorboard:
            opened["tensorboard"] = TensorBoardLogger(folder)
        if self.wandb is not None:
            opened["wandb"] = WandbLogger(folder, name, flat, self.wandb)
        if self.mlflow is not None:
            opened["mlflow"] = MlflowLogger(folder, name, flat, self.mlflow, resumed=resumed)
        return opened


def flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings with dotted names; values that are not set are left out."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, f"{name}.")
        elif value is not None:
            yield name, value
