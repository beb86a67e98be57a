"""Weights & Biases, offline unless the user asks for the network."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from latentfm_core.errors import ConfigError
from latentfm_core.loggers.logger import Point, check_installed, library

WandbMode = Literal["offline", "online"]
MODES: tuple[WandbMode, ...] = get_args(WandbMode)
FOLDER = "wandb"
PROJECT = "latentfm"
_NEEDED = ("wandb", "--wandb")
_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-([a-z0-9]{8})(?:-\d+)?")


def check() -> None:
    """Raise `ConfigError` if W&B is not installed."""
    check_installed("wandb", *_NEEDED)


class WandbLogger:
    """Writes a W&B run to the folder ``wandb`` of a run.

    A resumed training continues the same W&B run. The library records neither the code, the
    host, the git repository nor the installed packages, and does not report errors to its vendor.

    Parameters
    ----------
    mode
        ``"offline"`` sends nothing; ``"online"`` uploads metrics and pictures.

    Raises
    ------
    ConfigError
        If W&B is not installed, or its run cannot start, for example without a login.
    """

    def __init__(
        self, folder: Path, name: str, config: Mapping[str, Any], mode: WandbMode = "offline"
    ) -> None:
        # Its error reports would be sent even in offline mode.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = library("wandb", *_NEEDED)
        settings = self._wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            host="",
            save_code=False,
            silent=mode == "offline",
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=name,
                id=_earlier_run(folder / FOLDER) or secrets.token_hex(4),
                resume="allow",
                dir=str(folder),
                config=dict(config),
                mode=mode,
                settings=settings,
            )
        except (self._wandb.errors.Error, OSError) as error:
            raise ConfigError(
                f"The W&B run cannot start: {error}. Log in with `wandb login`, or use --wandb "
                "offline, which sends nothing."
            ) from None
        self._stages: set[str] = set()

    def metrics(self, at: Point, values: Mapping[str, float]) -> None:
        """Log the metrics, plotted over the steps of their stage."""
        self._announce(at.stage)
        named: dict[str, float] = {f"{at.stage}/{name}": value for name, value in values.items()}
        self._run.log({**named, f"{at.stage}/step": at.step, f"{at.stage}/epoch": at.epoch})

    def picture(self, at: Point, name: str, path: Path) -> None:
        """Log a picture with the epoch as its caption."""
        self._announce(at.stage)
        picture = self._wandb.Image(str(path), caption=f"epoch {at.epoch}")
        self._run.log({f"{at.stage}/{name}": picture, f"{at.stage}/step": at.step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()

    def _announce(self, stage: str) -> None:
        # W&B counts its own steps; those of a stage start again at 0.
        if stage not in self._stages:
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)


def _earlier_run(folder: Path) -> str | None:
    """Return the id of the last W&B run in `folder`, if any."""
    found = [
        (path.name.removeprefix("offline-"), match[1])
        for path in folder.glob("*run-*")
        if (match := _RUN.fullmatch(path.name))
    ]
    return max(found)[1] if found else None
