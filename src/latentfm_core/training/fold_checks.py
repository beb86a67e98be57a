"""Checks that all folds of a cross-validation have the same settings and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from latentfm_core.config import Config
from latentfm_core.errors import CheckpointError
from latentfm_core.training.checkpoint import read_header
from latentfm_core.training.extending import MAY_CHANGE
from latentfm_core.training.ignored import refuse_ignored
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import changed_settings, data_settings, shared_settings
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.run_record import refuse_changed_pixels
from latentfm_core.training.stages import STAGES
from latentfm_core.training.trainer import Trainer


def refuse_other_settings(stored: Config, config: Config) -> None:
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
            "cross-validation have the same. Leave that out, or choose another --out."
        )


def refuse_ignored_by_folds(runs: Mapping[Path, Config], options: RunOptions) -> None:
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
        refuse_ignored(read_header(out / TRAINING), config, replace(options, out=out, card=None))


def refuse_other_images(begun: Path | None, trainer: Trainer) -> None:
    """Reject images or masks that have changed since the first fold was trained.

    Parameters
    ----------
    begun
        Folder of a fold that has begun; one is enough, since each has all images but the test
        part. None if there is none.
    trainer
        Of the fold whose images were read; it is closed before an error is raised.

    Raises
    ------
    CheckpointError
        The message names the images.
    """
    run = None if begun is None else read_header(begun / TRAINING).run
    if run is None:
        return
    try:
        refuse_changed_pixels(run.data, trainer.state.record.data.fingerprints)
    except CheckpointError as error:
        trainer.close()
        raise CheckpointError(
            f"{error} A cross-validation needs the same images in all folds: restore them, or "
            "choose another --out."
        ) from None
