"""Find the folds that have begun, and check that all use the same settings, images and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from latentfm_core.config import Config
from latentfm_core.datasets.folds import FILE, FOLDER, read_folds
from latentfm_core.errors import CheckpointError
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_only_card
from latentfm_core.training.checkpoint import FILE as CHECKPOINT
from latentfm_core.training.checkpoint import read_header
from latentfm_core.training.extending import MAY_CHANGE
from latentfm_core.training.ignored import reject_ignored
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import (
    changed_settings,
    data_settings,
    finished_card,
    shared_settings,
)
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.run_record import RunRecord, reject_changed_pixels
from latentfm_core.training.stages import STAGES
from latentfm_core.training.trainer import Trainer


def reject_other_settings(stored: Config, config: Config) -> None:
    """Reject settings in which the folds would differ, except how long they are trained.

    Parameters
    ----------
    stored, config
        Settings of a fold that has begun, and those of the folds that follow.

    Raises
    ------
    CheckpointError
        The message names them.
    """
    changed = [
        *data_settings(stored, config),
        *shared_settings(stored, config),
        *(name for name in changed_settings(stored, config, STAGES) if name not in MAY_CHANGE),
    ]
    if changed:
        raise CheckpointError(
            f"it was trained with other settings: {', '.join(changed)}. All folds of a "
            "cross-validation have the same. Leave this out, or choose another --out."
        )


def reject_ignored_by_folds(runs: Mapping[Path, Config], options: RunOptions) -> None:
    """Reject what finished folds would ignore.

    Parameters
    ----------
    runs
        Settings by the folder of each fold.

    Raises
    ------
    CheckpointError
        The message names it.
    """
    for out, config in runs.items():
        # The card of a fold is that of the cross-validation with its own id.
        reject_ignored(read_header(out / TRAINING), config, replace(options, out=out, card=None))


def reject_other_parent(out: Path, init: str | None) -> None:
    """Reject a model to start from that is no longer the one that the first fold started from.

    Parameters
    ----------
    out
        Folder of the cross-validation.

    Raises
    ------
    CheckpointError
        If its weights differ.
    """
    begun = _first_run(out)
    if init and begun is not None:
        _reject_other_weights(begun, read_only_card(resolve_model(init)).weights_sha256)


def reject_other_start(out: Path, trainer: Trainer) -> None:
    """Reject images, masks or initial weights that have changed since the first fold was trained.

    Parameters
    ----------
    out
        Folder of the cross-validation. One fold that has begun is enough, since each has all
        images but the test part.
    trainer
        Of the fold whose images were read; it is closed before an error is raised.

    Raises
    ------
    CheckpointError
        The message names the images.
    """
    begun, record = _first_run(out), trainer.state.record
    if begun is None:
        return
    try:
        _reject_other_weights(begun, record.init_sha256)
        _reject_other_images(begun, record)
    except CheckpointError:
        trainer.close()
        raise


def _first_run(out: Path) -> RunRecord | None:
    begun = begun_fold(out)
    return None if begun is None else read_header(begun / TRAINING).run


def _reject_other_weights(begun: RunRecord, sha256: str) -> None:
    if begun.init_sha256 and begun.init_sha256 != sha256:
        raise CheckpointError(
            f"The model that the first fold started from ({begun.init}) has been replaced: its "
            "weights differ. Restore that model, or start a new cross-validation with another "
            "--out."
        )


def _reject_other_images(begun: RunRecord, record: RunRecord) -> None:
    try:
        reject_changed_pixels(begun.data, record.data.fingerprints)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} A cross-validation needs the same images in all folds: restore them, or "
            "choose another --out."
        ) from None


def is_begun(out: Path) -> bool:
    """Return whether the run of a fold has a checkpoint."""
    return (out / TRAINING / CHECKPOINT).is_file()


def is_finished(out: Path) -> bool:
    """Return whether the run of a fold has written its model."""
    return is_begun(out) and finished_card(out) is not None


def begun_fold(out: Path) -> Path | None:
    """Return the first fold in `out` with a checkpoint, None if there is none."""
    if not (out / FILE).is_file():
        return None
    count = len(read_folds(out / FILE).folds)
    folders = (out / FOLDER.format(fold) for fold in range(count))
    return next((folder for folder in folders if is_begun(folder)), None)
