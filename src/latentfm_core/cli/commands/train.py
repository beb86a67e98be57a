"""Run ``latentfm-train`` with parsed arguments."""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path

from latentfm_core.cli.commands.train_config import make_config
from latentfm_core.cli.commands.train_folds import of_folds, run_folds
from latentfm_core.cli.common import EXIT_INTERRUPTED, EXIT_OK, NOTICE, print_result
from latentfm_core.cli.stop_flag import StopFlag
from latentfm_core.config import Config, read_toml
from latentfm_core.config.loading import to_toml
from latentfm_core.errors import CheckpointError, ConfigError
from latentfm_core.files.locks import one_writer
from latentfm_core.finetuning.finetune import VERDICT, FineTune, is_learning
from latentfm_core.finetuning.recipe import PRESET
from latentfm_core.loggers.tracking import Tracking
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.usable import usability_warning
from latentfm_core.names import shown
from latentfm_core.report.training import FILE
from latentfm_core.torchrun import read_launch
from latentfm_core.training.checkpoint import read_header
from latentfm_core.training.fold_table import update_table
from latentfm_core.training.ignored import reject_ignored
from latentfm_core.training.optimisation import load_optimiser
from latentfm_core.training.resuming import (
    check_resumed,
    extends,
    finished_card,
    follows_paths,
)
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.runlog import NAMES
from latentfm_core.training.trainer import RunOptions, Trainer
from latentfm_core.vocabulary import UNUSABLE

# Under ``python -m`` this module is named "__main__", whose logger has no handler.
logger = logging.getLogger("latentfm_core.cli.train")


def run(args: argparse.Namespace, command: str) -> int:
    """Run the command; return its exit code."""
    if args.dump_config:
        print_result(to_toml(make_config(args)).rstrip())
        return EXIT_OK
    if args.out is None:
        raise ConfigError("Name the folder of the new model: --out FOLDER.")
    launch = read_launch()
    if not launch.first:  # rank 0 reports for all; any process reports errors
        logging.getLogger("latentfm_core").setLevel(logging.ERROR)
    flag = StopFlag(launched=launch.size > 1)
    flag.install()
    options = _options(args, command, flag)
    config = make_config(args)
    if of_folds(args, config):
        return run_folds(args, config, options, flag)
    if args.dry_run:
        Trainer(config, options).close()
        logger.info("Nothing was trained or written. Leave --dry-run out to train.")
        return EXIT_OK
    if args.resume and _is_finished(config, options):
        return EXIT_OK
    load_optimiser()  # while Ctrl+C ends the command at once
    run: FineTune | Trainer
    if args.preset == PRESET or (args.resume and is_learning(args.out)):
        run = FineTune(config, options)
    else:
        run = Trainer(config, options)
    flag.begin()
    if run.run() is None:
        return _report_stop(args.out, options.tracking)
    if launch.first:
        _report_written(args.out)
        update_table(args.out)
    return EXIT_OK


def _options(args: argparse.Namespace, command: str, flag: StopFlag) -> RunOptions:
    return RunOptions(
        out=args.out,
        resume=args.resume,
        tracking=Tracking(args.tensorboard, args.wandb, args.mlflow),
        should_stop=flag,
        command=command,
        card={} if args.card is None else read_toml(args.card),
        init=args.init,
        trust_paths=args.trust_paths,
        changed_data=args.changed_data or "reject",
        dry_run=args.dry_run,
        urgent=flag,
    )


def _report_stop(out: Path, tracking: Tracking) -> int:
    again = ["latentfm-train", "--out", str(out), "--resume", *tracking.arguments()]
    if not follows_paths(out):
        again.append("--trust-paths")
    logger.log(NOTICE, "Stopped; everything so far is saved. To continue: %s", shlex.join(again))
    return EXIT_INTERRUPTED


def _report_written(out: Path) -> None:
    card = read_card(out)
    named = [(NAMES[key], card.metrics[key]) for key in NAMES if key in card.metrics]
    figures = ", ".join(f"{name} {value:.2f}" for name, value in named)
    unknown = "not validated" if card.data.n_val else "no validation part"
    report = out / TRAINING / FILE
    logger.info(
        "Model written to %s (%s)%s",
        shown(out),
        f"validation {figures}" if figures else unknown,
        f". Curves and advice: {shown(report)}" if report.is_file() else "",
    )
    if usability_warning(card):
        logger.warning(
            "The model is not usable yet: its validation Dice is below %s. The report says what "
            "to do.",
            UNUSABLE,
        )


def _is_finished(config: Config, options: RunOptions) -> bool:
    """Return whether the run is already finished, and log it.

    Raise `CheckpointError` if the settings or options differ from those of the run and cannot
    extend it.
    """
    judged = not is_learning(options.out) or (options.out / TRAINING / VERDICT).is_file()
    if finished_card(options.out) is None or not judged:
        return False
    checkpoint = read_header(options.out / TRAINING)
    longer = extends(checkpoint, config)
    if longer and is_learning(options.out):
        raise CheckpointError(
            "A finished run on corrections cannot be extended: it is compared with the model "
            "that it started from. Start a new run with --init and another --out."
        )
    check_resumed(checkpoint, config, options.out)
    if longer:
        return False
    reject_ignored(checkpoint, config, options)
    with one_writer(options.out, "writing to", "Wait until it has finished."):
        pass  # removes a stale lock of a process that was killed at its end
    logger.info("The run in %s is already finished; nothing to do.", options.out)
    return True
