"""Cross-validation by ``latentfm-train`` with ``--folds`` and ``--fold``."""

from __future__ import annotations

import argparse
import logging
import shlex
from dataclasses import replace

from latentfm_core.cli.common import EXIT_INTERRUPTED, EXIT_OK, NOTICE
from latentfm_core.cli.stop_flag import StopFlag
from latentfm_core.config import Config
from latentfm_core.config.loading import override_values
from latentfm_core.datasets.folds import FILE, FOLDER
from latentfm_core.errors import ConfigError
from latentfm_core.finetuning.recipe import PRESET as FINETUNE
from latentfm_core.loggers.tracking import Tracking
from latentfm_core.names import shown
from latentfm_core.training.cross_validation import CrossValidation, shared_out
from latentfm_core.training.distillation import PRESET as DISTILL
from latentfm_core.training.fold_checks import begun_fold
from latentfm_core.training.fold_table import CSV, CrossValidated
from latentfm_core.training.optimisation import load_optimiser
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import follows_paths

logger = logging.getLogger("latentfm_core.cli.train")


def of_folds(args: argparse.Namespace, config: Config) -> bool:
    """Return whether ``--out`` is the folder of a cross-validation, not of a single model.

    The run of a fold can also be resumed alone, in its own folder.
    """
    if config.data.folds is None:
        return False
    return not args.resume or args.fold is not None or (args.out / FILE).is_file()


def run_folds(args: argparse.Namespace, config: Config, options: RunOptions, flag: StopFlag) -> int:
    """Train the folds; return the exit code.

    Raises
    ------
    ConfigError
        If the preset continues the training of a single model.
    KeyboardInterrupt
        If the run was stopped before there was anything to save.
    """
    if args.preset in (FINETUNE, DISTILL):
        raise ConfigError(
            f"--preset {args.preset} continues a single model: leave --folds out, and run it with "
            f"--init {args.out / FOLDER.format(0)} for each fold."
        )
    training = override_values(args.overrides).get("training")
    if not args.resume or args.minutes is not None or "minutes" in (training or ()):
        # The settings of a resumed fold already have its share of the time.
        config = _divide(config)
    runs = CrossValidation(config, replace(options, should_stop_reading=flag))
    if args.dry_run:
        runs.dry_run()
        logger.info("Nothing was trained or written. Leave --dry-run out to train.")
        return EXIT_OK
    load_optimiser()  # while Ctrl+C ends the command at once
    flag.begin()
    table = runs.run()
    if table is None:
        return _report_stop(args)
    _report_end(args, table)
    return EXIT_OK


def _divide(config: Config) -> Config:
    """Return the settings of each fold, and log how the time budget is divided."""
    shared, minutes = shared_out(config), config.training.minutes
    if minutes is not None and shared.training.minutes != minutes:
        logger.info(
            "The time budget of %g minutes is divided: %.3g minutes for each of %d folds.",
            minutes,
            shared.training.minutes,
            config.data.folds,
        )
    return shared


def _report_stop(args: argparse.Namespace) -> int:
    begun = begun_fold(args.out)
    if begun is None:
        raise KeyboardInterrupt
    again = ["latentfm-train", "--out", str(args.out), "--resume"]
    given = {"--fold": args.fold, "--init": args.init, "--card": args.card}
    for option, value in given.items():
        again += [] if value is None else [option, str(value)]
    again += Tracking(args.tensorboard, args.wandb, args.mlflow).arguments()
    again += [] if follows_paths(begun) else ["--trust-paths"]
    logger.log(NOTICE, "Stopped; everything so far is saved. To continue: %s", shlex.join(again))
    return EXIT_INTERRUPTED


def _report_end(args: argparse.Namespace, table: CrossValidated) -> None:
    count = len(table.folds.folds)
    if not table.complete:
        missing = sorted(set(range(count)) - set(table.cards))
        logger.info(
            "%d of %d folds are finished. Still to train: %s. Each with --fold, or all of them: %s",
            len(table.cards),
            count,
            ", ".join(map(str, missing)),
            shlex.join(["latentfm-train", "--out", str(args.out), "--resume"]),
        )
        return
    logger.info(
        "Validation figures of %d folds, each with its best weights (%s):\n%s",
        count,
        args.out / CSV,
        table.to_text(),
    )
    if table.trained_before:
        logger.warning(
            "These figures are too optimistic: the model %s, from which the folds started, was "
            "trained on %d of their %d images.",
            shown(table.folds.init or args.init),
            table.trained_before,
            len(table.folds.fold_of()),
        )
    logger.info("The ensemble of all folds is the model %s", args.out)
