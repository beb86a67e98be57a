"""Cross-validation: the model of every fold, one after the other, each in its own folder."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentfm_core.config import Config, DataConfig, config_from_mapping
from latentfm_core.datasets.folds import FILE, FOLDER, Folds, make_folds, read_folds, write_folds
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.object_set import SetPairs, alone, find_sets, unique_name
from latentfm_core.datasets.set_checks import check_sets
from latentfm_core.errors import Cancelled, CheckpointError, ConfigError, DatasetError, OutputError
from latentfm_core.files.locks import remove_abandoned
from latentfm_core.model_io.file_names import CARD
from latentfm_core.names import counted, model_id
from latentfm_core.torchrun import read_launch
from latentfm_core.training import fold_checks
from latentfm_core.training.checkpoint import read_header
from latentfm_core.training.extending import NothingLeft
from latentfm_core.training.fold_checks import begun_fold, is_begun, is_finished
from latentfm_core.training.fold_table import CrossValidated, finished_folds
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import begun_with, check_resumed, extends
from latentfm_core.training.run_folder import TRAINING, check_places
from latentfm_core.training.trainer import Trainer

logger = logging.getLogger(__name__)

_LONGEST_NAME = 85
"""Maximum length of an id before the number of the fold."""


class CrossValidation:
    """Trains the models of ``data.folds`` folds into ``out/fold_0``, ``out/fold_1``, ...

    Parameters
    ----------
    config
        Settings of the folds. With ``data.fold``, only that fold is trained. ``training.minutes``
        is the budget of each fold (see `shared_out`).
    options
        Options of the runs; `out` is the folder of the cross-validation. With `resume`, unfinished
        folds are continued, and finished ones are extended if these settings ask for more training.

    Attributes
    ----------
    folds
        The images of each fold.

    Raises
    ------
    DatasetError
        If the data cannot be divided into the folds.
    ConfigError
        If ``data.folds`` is not set, or the settings do not suit a cross-validation.
    CheckpointError
        If `out` has other folds, or runs while `resume` is off, or a fold that has begun cannot
        be continued or extended with these settings.
    OutputError
        If `out` contains a model.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        if config.data.folds is None:
            raise ConfigError("A cross-validation needs data.folds, the number of folds.")
        self.config, self.out = config, options.out
        self.options = begun_with(options, begun_fold(options.out))
        self._check_options()
        check_places(self.out, config.data, [fold.name for fold in self._chosen().values()])
        if (self.out / CARD).exists():
            raise OutputError(
                f"{self.out} contains a model. Choose another --out for the folds of a "
                "cross-validation."
            )
        if not options.resume:
            check_sets(config)
            self._reject_second_run()
        self.folds = find_folds(config.data)
        self._check_record()
        self._check_begun()

    def _check_options(self) -> None:
        if self.options.changed_data != "reject":
            raise ConfigError(
                "A cross-validation keeps its folds: leave --changed-data out, and start a new "
                "cross-validation with the changed images."
            )
        if self.config.data.fold is None and read_launch().size > 1:
            raise ConfigError(
                "Several processes train one fold at a time: add --fold 0, then --fold 1, and so "
                "on."
            )

    def _reject_second_run(self) -> None:
        """Reject new runs if there are earlier ones, before hours of training other folds."""
        begun = [out.name for out in self._chosen().values() if is_begun(out)]
        if begun:
            raise CheckpointError(
                f"{self.out} already has training runs ({', '.join(begun)}). Add --resume to "
                "continue the cross-validation (and remove --config and --preset), or choose "
                "another --out."
            )

    def _check_record(self) -> None:
        """Reject folds other than those of earlier runs in the folder."""
        self.folds = replace(self.folds, init=self.options.init or "")
        if not (self.out / FILE).is_file():
            return
        known = read_folds(self.out / FILE)
        if (known.folds, known.test) != (self.folds.folds, self.folds.test):
            raise CheckpointError(
                f"{self.out / FILE} lists other folds than these settings and images give. Use "
                "the same images, number of folds, groups, split and data.split_seed, or choose "
                "another --out."
            )
        if not all(is_begun(out) for out in self._chosen().values()):
            if known.init and self.options.init is None:
                raise ConfigError(f"The folds start from the model {known.init}: add --init.")
            fold_checks.reject_other_parent(self.out, self.options.init)
        self.folds = replace(self.folds, init=known.init or self.folds.init)

    def _check_begun(self) -> None:
        """Reject settings that a fold cannot be resumed with, before hours of training others.

        A finished fold that they do not extend is left as it is, unless that is true of all.
        """
        idle = []
        runs = {out: with_fold(self.config, fold) for fold, out in self._chosen().items()}
        for out, config in runs.items():
            if is_begun(out):
                checkpoint = read_header(out / TRAINING)
                try:
                    stored = config_from_mapping(checkpoint.config)
                    fold_checks.reject_other_settings(stored, config)
                    check_resumed(checkpoint, config, out)
                except NothingLeft as error:
                    idle.append(CheckpointError(f"{out.name}: {error}"))
                except CheckpointError as error:
                    raise CheckpointError(f"{out.name}: {error}") from None
        if idle and len(idle) == len(runs):
            raise idle[0]
        if self.options.resume and all(self._is_done(*one) for one in self._chosen().items()):
            fold_checks.reject_ignored_by_folds(runs, self.options)

    def _is_done(self, fold: int, out: Path) -> bool:
        """Return whether a fold is finished, and these settings do not extend it."""
        if not is_finished(out):
            return False
        checkpoint, config = read_header(out / TRAINING), with_fold(self.config, fold)
        try:
            check_resumed(checkpoint, config, out)
        except NothingLeft:
            return True
        return not extends(checkpoint, config)

    def _chosen(self) -> dict[int, Path]:
        """Return the folders of the folds to train."""
        data = self.config.data
        chosen = range(data.folds or 0) if data.fold is None else (data.fold,)
        return {fold: self.out / FOLDER.format(fold) for fold in chosen}

    def announce(self) -> None:
        """Log the folds."""
        count = sum(map(len, self.folds.folds))
        parts = [self.folds.split(fold) for fold in range(len(self.folds.folds))]
        lines = [
            f"  {FOLDER.format(fold)}: {len(part.train)} train, {len(part.val)} val"
            for fold, part in enumerate(parts)
        ]
        logger.info(
            "%d folds of %d images (seed %d); %s in no fold\n%s",
            len(parts),
            count,
            self.config.data.split_seed,
            counted(len(self.folds.test), "test image"),
            "\n".join(lines),
        )

    def dry_run(self) -> None:
        """Log the folds, and data, stages, time and memory of the next fold; write nothing."""
        self.announce()
        for fold, out in self._chosen().items():
            if not self._is_done(fold, out):
                self._trainer(fold, out).close()
                count = len(self._chosen())
                if count > 1:
                    logger.info(
                        "This is %s, one of %d folds to train. The expected time is that of one "
                        "fold; the memory is the same for all.",
                        out.name,
                        count,
                    )
                return
        logger.info("All folds are finished.")

    def run(self) -> CrossValidated | None:
        """Train the folds that are not finished yet.

        Returns the table, also written to `out`, as far as the folds are finished; None if the run
        was stopped.

        Raises
        ------
        Exception
            As `Trainer` and `Trainer.run` do.
        """
        self.announce()
        if read_launch().first:
            write_folds(self.out / FILE, self.folds)
            finished_folds(self.out, self.folds)  # removes the table of a fold that is gone
        for fold, out in self._chosen().items():
            if self._is_done(fold, out):
                logger.info("%s is finished already.", out.name)
                remove_abandoned(out)
                continue
            logger.info("%s of %d folds", out.name, len(self.folds.folds))
            if not self._train(fold, out):
                return None
        # Also if all were finished: a process may have been killed before it wrote the table.
        return finished_folds(self.out, self.folds)

    def _train(self, fold: int, out: Path) -> bool:
        try:
            trainer = self._trainer(fold, out)
            fold_checks.reject_other_start(self.out, trainer)
            return trainer.run() is not None
        except Cancelled:
            return False  # while the images were read
        finally:
            # The images of a fold are not kept while those of the next are read.
            gc.collect()

    def _trainer(self, fold: int, out: Path) -> Trainer:
        card = {**(self.options.card or {}), "id": self._model_id(fold)}
        options = replace(self.options, out=out, resume=is_begun(out), card=card)
        return Trainer(with_fold(self.config, fold), options)

    def _model_id(self, fold: int) -> str:
        given = (self.options.card or {}).get("id")
        name = model_id(str(given or self.out.resolve().name))[:_LONGEST_NAME]
        return model_id(f"{name}-{FOLDER.format(fold)}")


def find_folds(data: DataConfig) -> Folds:
    """Draw the folds of the images that `data` names; of several sets, with unique names.

    Every set is divided separately, so that each fold has images of all of them.

    Raises
    ------
    ConfigError, DatasetError
        If the data cannot be found or divided.
    """
    whole = data.model_copy(update={"fold": None})
    if not data.sets:
        return make_folds([pair.name for pair in training_pairs(whole)], whole)
    drawn = [(one.settings.name, _folds_of_set(one, whole)) for one in find_sets(whole)]

    def joined(parts: Iterator[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
        return tuple(sorted(unique_name(name, one) for name, part in parts for one in part))

    return Folds(
        tuple(
            joined((name, found.folds[fold]) for name, found in drawn)
            for fold in range(data.folds or 0)
        ),
        joined((name, found.test) for name, found in drawn),
    )


def _folds_of_set(one: SetPairs, data: DataConfig) -> Folds:
    try:
        return make_folds(one.pairs, alone(one.settings, data))
    except DatasetError as error:
        raise DatasetError(f"Set {one.settings.name}: {error}") from None


def with_fold(config: Config, fold: int | None) -> Config:
    """Return the settings with another ``data.fold``."""
    return config.model_copy(update={"data": config.data.model_copy(update={"fold": fold})})


def shared_out(config: Config) -> Config:
    """Return the settings with an equal share of the time budget for one fold."""
    minutes, folds = config.training.minutes, config.data.folds
    if minutes is None or folds is None or config.data.fold is not None:
        return config
    changes: dict[str, Any] = {"minutes": minutes / folds}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})
