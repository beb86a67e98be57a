"""Folder of a training run: checks, lock, and files of earlier runs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from latentfm_core.config import DataConfig
from latentfm_core.errors import CheckpointError, OutputError
from latentfm_core.files.atomic import make_folder
from latentfm_core.files.disk_errors import write_error
from latentfm_core.files.locks import FolderLock, busy
from latentfm_core.model_io.file_names import CARD
from latentfm_core.names import shown
from latentfm_core.training.checkpoint import FILE

logger = logging.getLogger(__name__)

TRAINING = "training"
"""Subfolder of a model folder for checkpoint, log and pictures."""
BEST = "best.safetensors"
EARLIER = "training-earlier"
"""Prefix of the folders that keep the files of an earlier run."""

_FOLDERS = (
    TRAINING,
    *(f"{TRAINING}/{name}" for name in ("samples", "tensorboard", "wandb", "mlflow-artifacts")),
)
_WORTH_KEEPING = (BEST, "log.csv", "learning.json", "model.json", "samples")


def check_places(out: Path, data: DataConfig, folds: Sequence[str] = ()) -> None:
    """Check that the folders of model, images, masks and cache do not overlap.

    Parameters
    ----------
    folds
        Names of the folders of the folds in `out`.

    Raises
    ------
    OutputError
        If they do, `out` is a file, or a folder in it is a symbolic link.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file. Choose another --out: the name of a folder.")
    inside = (f"{fold}/{name}" for fold in folds for name in _FOLDERS)
    for name in (*_FOLDERS, *folds, *inside):
        if (out / name).is_symlink():
            raise OutputError(
                f"{out / name} is a symbolic link, and training would write to its target. "
                "Remove the link, or choose another --out."
            )
    for option, folder in (("--out", out), ("--cache", data.cache)):
        if folder is not None:
            _check_place(option, folder.resolve(), data)
    if data.cache is not None and data.cache.resolve() == out.resolve():
        raise OutputError("--cache and --out are one folder. Give each its own.")


def _check_place(option: str, place: Path, data: DataConfig) -> None:
    sources = [("images", data.images), ("masks", data.masks), ("data", data.folder)]
    for one in data.sets:
        sources += [("images", one.images), ("masks", one.masks)]
    for what, folder in sources:
        if folder is not None and place == folder.resolve():
            raise OutputError(
                f"{option} is the folder of the {what}, {folder}: training files would be mixed "
                f"with them. Choose another {option}."
            )
        if what == "masks" and folder is not None and place.is_relative_to(folder.resolve()):
            raise OutputError(
                f"{option} is inside the folder of the masks, {folder}, and would be mistaken for "
                f"the masks of a rater. Choose another {option}."
            )


class RunFolder:
    """Lock that lets one process write a run to a model folder."""

    def __init__(self, out: Path, resume: bool) -> None:
        self._out, self._resume = out, resume
        self._lock = FolderLock(out)
        self._ready = False

    def claim(self) -> None:
        """Lock the folder; create it if missing, and move old files aside for a new run.

        Raises
        ------
        FolderBusy
            If another process has it.
        CheckpointError
            If another process has started a run there in the meantime.
        OutputError
            If it cannot be created.
        """
        try:
            make_folder(self._out)
        except OSError as error:
            raise write_error(self._out, error) from None
        self.claim_existing()
        if self._ready:
            return
        if not self._resume:
            reject_second_run(self._out)
            self._clear()
        self._ready = True

    def claim_existing(self) -> None:
        """Lock the folder if it exists; raise `FolderBusy` if another process has it."""
        if self._out.is_dir() and not self._lock.acquire(patience=0.2):
            raise busy(
                self._lock,
                "writing to",
                "Wait until it has finished, or choose another --out.",
            )

    def release(self) -> None:
        """Release the folder."""
        self._lock.release()

    def _clear(self) -> None:
        """Move the files of an earlier run aside; they could be mistaken for those of this run."""
        folder = self._out / TRAINING
        if any((folder / name).exists() for name in _WORTH_KEEPING):
            names = (self._out / f"{EARLIER}-{number}" for number in itertools.count(1))
            aside = next(path for path in names if not path.exists())
            try:
                folder.rename(aside)
            except OSError as error:
                raise write_error(aside, error) from None
            logger.warning(
                "%s has files of an earlier run without a checkpoint. They are kept in %s.",
                folder,
                aside.name,
            )
        if (self._out / CARD).exists():
            logger.warning(
                "%s contains a model. It will be replaced at the end of this run.", self._out
            )


def reject_second_run(out: Path) -> None:
    """Raise `CheckpointError` if a folder has the checkpoint of an earlier run."""
    if (out / TRAINING / FILE).is_file():
        raise CheckpointError(
            f"{shown(out)} already has a training run. Add --resume to continue it (and remove "
            "--config and --preset), or choose another --out."
        )
