"""``latentfm-train``: train a LatentFM model on a folder of images and masks."""

from __future__ import annotations

import argparse
import sys

from latentfm_core.cli.common import entry_point
from latentfm_core.cli.data_options import (
    FOLDER,
    add_data_arguments,
    add_grouping,
    add_reading_arguments,
)
from latentfm_core.cli.options import AUTO_PRECISION, DEVICES, PRECISION
from latentfm_core.cli.setting_types import type_of
from latentfm_core.config import PRESETS, DataConfig, TrainingConfig
from latentfm_core.files.user_path import user_path
from latentfm_core.loggers.mlflow import LOCAL
from latentfm_core.loggers.wandb import MODES


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-train``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-train",
        description=(
            "Train a model (image VAE, mask VAE, then flow) on a folder of images and a folder "
            "of masks with the same names, or on a folder in a known layout (--data). The result "
            "is a model folder that latentfm-predict, latentfm-evaluate and the napari plugin load."
        ),
    )
    data = DataConfig()
    add_data_arguments(
        parser,
        "the classes are those of nnU-Net's dataset.json",
        f" (default: random, {data.val_fraction:g} of the images for val and "
        f"{data.test_fraction:g} for test)",
    )
    _add_kind_of_run(parser)
    split = parser.add_argument_group("without --split", "Images of one group stay together.")
    add_grouping(split)
    _add_folds(parser)
    _add_run(parser)
    _add_resuming(parser)
    add_reading_arguments(parser)
    return parser


def _add_kind_of_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=user_path, metavar=FOLDER, help="model folder to write")
    parser.add_argument(
        "--minutes",
        type=type_of(TrainingConfig, "minutes"),
        metavar="COUNT",
        help="time budget of the run, divided among its stages; it ends earlier if the epochs "
        "do (default: no limit)",
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="start from the weights of a model folder or bundled model, also with other "
        "classes; set the epochs of training.image_vae and training.mask_vae to 0 to keep its VAEs",
    )
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument(
        "--dry-run",
        action="store_true",
        help="read the data, print the data summary, the stages and the expected time and "
        "memory, and stop",
    )
    ending.add_argument(
        "--dump-config",
        action="store_true",
        help="print all settings as TOML, as a template for --config, and stop",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out with the settings and images that it was started with; a "
        "finished run trains for longer with more training.flow.epochs or --minutes",
    )
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=user_path, metavar="FILE", help="TOML file with settings")
    source.add_argument(
        "--preset",
        choices=PRESETS,
        help="named settings (default: default); paper: as in the paper; with --init, "
        "finetune trains on a few images and distill adds a network for one or two ODE steps",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, for example training.flow.epochs=100; may be repeated",
    )


def _add_resuming(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --resume")
    group.add_argument(
        "--changed-data",
        choices=("keep", "redraw"),
        help="continue although images were added, removed or changed: keep the split and ignore "
        "new images, or redraw the split (default: stop and list the changes)",
    )
    group.add_argument(
        "--trust-paths",
        action="store_true",
        help="use the folders named in the checkpoint although the run is someone else's or was "
        "moved",
    )


def _add_folds(parser: argparse.ArgumentParser) -> None:
    folds = parser.add_argument_group(
        "cross-validation",
        "Test images are in no fold. The folder of the folds is itself a model (an ensemble).",
    )
    folds.add_argument(
        "--folds",
        type=type_of(DataConfig, "folds"),
        metavar="COUNT",
        help="train a model for each of COUNT folds, one after the other, into --out/fold_0, "
        "fold_1, ...; --minutes is divided among them; --resume skips finished folds",
    )
    folds.add_argument(
        "--fold",
        type=type_of(DataConfig, "fold"),
        metavar="NUMBER",
        help="with --folds, train this fold only, counted from 0, for example as one job of a "
        "cluster",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    usual = TrainingConfig()
    run = parser.add_argument_group("run")
    run.add_argument("--device", metavar="DEVICE", help=f"{DEVICES} (default: {usual.device})")
    run.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        help=f"{PRECISION}; {AUTO_PRECISION} (default: {usual.precision})",
    )
    run.add_argument(
        "--seed",
        type=type_of(TrainingConfig, "seed"),
        metavar="SEED",
        help=f"random seed of initial weights, image order and noise (default: {usual.seed})",
    )
    _add_loggers(parser)
    run.add_argument(
        "--cache",
        type=user_path,
        metavar=FOLDER,
        help="cache decoded images there, so that the next run starts at once; these are copies: "
        "choose a place as private as the images",
    )
    run.add_argument(
        "--card",
        type=user_path,
        metavar="FILE",
        help="TOML file for the model card: title, data, licence, ...",
    )


def _add_loggers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "log to",
        "Besides log.csv and report.html in OUT/training. Curves and validation pictures stay on "
        "this computer, except with --wandb online and --mlflow URI.",
    )
    group.add_argument("--tensorboard", action="store_true", help="TensorBoard")
    group.add_argument(
        "--wandb",
        nargs="?",
        const="offline",
        choices=MODES,
        help="Weights & Biases; offline (default) writes a run that `wandb sync` can upload, "
        "online uploads it during training",
    )
    group.add_argument(
        "--mlflow",
        nargs="?",
        const=LOCAL,
        metavar="URI",
        help="MLflow, at this tracking URI (default: a database in OUT/training)",
    )


main = entry_point(
    build_parser,
    "Lower batch_size of the stage (--set training.flow.batch_size=8) or data.size",
)

if __name__ == "__main__":
    sys.exit(main())
