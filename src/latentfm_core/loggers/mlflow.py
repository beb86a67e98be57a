"""MLflow, with a database in the run's folder unless the user names a tracking server."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentfm_core.errors import ConfigError
from latentfm_core.loggers.logger import Point, check_installed, library

LOCAL = "local"
"""Value of ``--mlflow`` for a database in the run's folder."""
EXPERIMENT = "latentfm"
DATABASE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
TAG = "latentfm.folder"
_NEEDED = ("mlflow", "--mlflow")
_LONGEST = 500


def check() -> None:
    """Raise `ConfigError` if MLflow or its database driver is not installed."""
    for package in ("mlflow", "sqlalchemy", "alembic"):
        check_installed(package, *_NEEDED)


class MlflowLogger:
    """Writes a run of the MLflow experiment ``latentfm``.

    Parameters
    ----------
    uri
        Tracking URI; `LOCAL` writes ``mlflow.db`` and ``mlflow-artifacts`` in `folder` and
        sends nothing, whatever ``MLFLOW_TRACKING_URI`` says.
    resumed
        Continue the last MLflow run of this folder, if there is one.

    Raises
    ------
    ConfigError
        If MLflow is not installed or the URI cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        config: Mapping[str, Any],
        uri: str = LOCAL,
        *,
        resumed: bool = False,
    ) -> None:
        # MLflow would send usage data to its developers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = library("mlflow", *_NEEDED)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        folder = folder.resolve()
        local = uri == LOCAL
        self._entities = library("mlflow.entities", *_NEEDED)
        try:
            self._client = mlflow.MlflowClient(
                tracking_uri=f"sqlite:///{folder.as_posix()}/{DATABASE}" if local else uri
            )
            place = (folder / ARTIFACTS).as_uri() if local else None
            found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = (
                self._client.create_experiment(EXPERIMENT, artifact_location=place)
                if found is None
                else found.experiment_id
            )
            self._run = self._start(experiment, folder, name, config, resumed)
        except (mlflow.exceptions.MlflowException, OSError, ValueError) as error:
            raise ConfigError(
                f"The MLflow run cannot start: {str(error)[:_LONGEST]} Check the address after "
                "--mlflow; without one the run is written to its own folder."
            ) from None

    def _start(
        self, experiment: str, folder: Path, name: str, config: Mapping[str, Any], resumed: bool
    ) -> str:
        # The path itself may contain the name of a user or patient.
        key = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        if resumed:
            earlier = self._client.search_runs(
                [experiment], f"tags.`{TAG}` = '{key}'", order_by=["start_time DESC"], max_results=1
            )
            if earlier:
                found: str = earlier[0].info.run_id
                self._client.update_run(found, status="RUNNING")
                return found
        run: str = self._client.create_run(experiment, run_name=name, tags={TAG: key}).info.run_id
        params = [self._entities.Param(key, str(value)[:_LONGEST]) for key, value in config.items()]
        self._client.log_batch(run, params=params)
        return run

    def metrics(self, at: Point, values: Mapping[str, float]) -> None:
        """Log the metrics at the step of their stage."""
        now = int(time.time() * 1000)
        named = {**values, "epoch": float(at.epoch)}
        metrics = [
            self._entities.Metric(f"{at.stage}/{name}", value, now, at.step)
            for name, value in named.items()
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def picture(self, at: Point, name: str, path: Path) -> None:
        """Store the file as an artifact."""
        self._client.log_artifact(self._run, str(path), f"{at.stage}/{name}")

    def close(self) -> None:
        """Mark the run as finished; a resumed training opens it again."""
        self._client.set_terminated(self._run)
