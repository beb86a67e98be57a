"""State of a training run, shared by the modules that prepare, train, validate and save it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from latentfm_core.config import Config
from latentfm_core.errors import Cancelled
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.checkpoint import Checkpoint, Position
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.options import RunOptions
from latentfm_core.training.run_data import RunData
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.run_record import RunRecord


@dataclass
class RunState:
    """State of a training run.

    Attributes
    ----------
    parent_images
        Name of each image that the models it started from were trained on, by signature.
    """

    config: Config
    options: RunOptions
    processes: ProcessGroup
    dtype: torch.dtype
    data: RunData
    model: LatentFM
    position: Position
    record: RunRecord
    checkpoint: Checkpoint | None
    parent_images: dict[str, str]

    @property
    def folder(self) -> Path:
        """Folder of checkpoint, log and pictures."""
        return self.options.out / TRAINING

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        return self.processes.device

    def picture(self, name: str) -> Path:
        """Return the path of a picture of validation images."""
        return self.folder / "samples" / f"{name}.png"

    def check_urgent(self) -> None:
        """Abort long work between two steps if the user asks for it.

        Raises
        ------
        Cancelled
            If the user did. With several processes this never happens, as the others would wait.
        """
        if self.processes.size == 1 and self.options.urgent():
            raise Cancelled("Stopped at the end of a stage.")
