"""``latentfm-train``: train a LatentFM model on a folder of images and masks."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from latentfm_core.cli.common import run_cli
from latentfm_core.cli.options import (
    AUTO_PRECISION,
    DEVICES,
    FOLDER,
    PRECISION,
    add_data_arguments,
    add_grouping,
    add_reading_arguments,
    reading_overrides,
    refuse_two_sources,
)
from latentfm_core.config import (
    PRESETS,
    Config,
    DataConfig,
    TrainingConfig,
    config_from_mapping,
    load_config,
    preset,
    read_toml,
    with_overrides,
)
from latentfm_core.datasets.layouts import read_layout, with_classes_of_folder
from latentfm_core.errors import ConfigError
from latentfm_core.files.locks import one_writer
from latentfm_core.finetuning.finetune import VERDICT, FineTune, is_learning
from latentfm_core.finetuning.recipe import PRESET, finetune_config
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.torchrun import read_launch
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.distillation import PRESET as DISTILL
from latentfm_core.training.distillation import distill_config
from latentfm_core.training.resuming import (
    check_resumed,
    finished_card,
    follows_paths,
    resumed_config,
)
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.trainer import RunOptions, Trainer

# Under ``python -m`` the name of this module is "__main__", which nobody listens to.
logger = logging.getLogger("latentfm_core.cli.train")

EXIT_INTERRUPTED = 130


class StopFlag:
    """Turns Ctrl+C, SIGTERM and SIGHUP into a request to save and stop.

    Before `begin` there is nothing to save, and a signal ends the command at once. Afterwards a
    second Ctrl+C does.

    Parameters
    ----------
    launched
        Whether a launcher watches over this process. It passes Ctrl+C on, sometimes more than
        once, and kills what does not end.
    """

    def __init__(self, launched: bool = False) -> None:
        self.stopped = False
        self._launched = launched
        self._training = False

    def install(self) -> None:
        """Handle the signals; SIGHUP stays ignored where ``nohup`` has made it so."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            signal.signal(hangup, self._handle)

    def begin(self) -> None:
        """Save from now on before a signal ends the command."""
        self._training = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A closing terminal sends several signals; only a person means it by the second one.
        again = self.stopped and number == signal.SIGINT and not self._launched
        if again or not self._training:
            raise KeyboardInterrupt
        if not self.stopped:
            at_once = "" if self._launched else "; press Ctrl+C again to stop without saving"
            logger.warning("Saving, then stopping%s.", at_once)
        self.stopped = True

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.stopped


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-train``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-train",
        description=(
            "Train a model (image VAE, mask VAE, then flow) on a folder of images and a folder "
            "of masks of the same names, or on a folder in a layout of others (--data). The result "
            "is a model folder that latentfm-predict, latentfm-evaluate and the napari plugin load."
        ),
    )
    data = DataConfig()
    _add_kind_of_run(parser)
    add_data_arguments(
        parser,
        "the classes are those of nnU-Net's dataset.json",
        f" (default: drawn at random, {data.val_fraction:g} of the images for val and "
        f"{data.test_fraction:g} for test)",
    )
    split = parser.add_argument_group("without --split", "What belongs together stays together.")
    add_grouping(split)
    _add_run(parser)
    add_reading_arguments(parser)
    return parser


def _add_kind_of_run(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
    source.add_argument(
        "--preset",
        choices=PRESETS,
        help="named settings (default: default); paper: as the paper has them; with --init, "
        "finetune learns from a few images and distill adds a network for one or two ODE steps",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar=FOLDER, help="model folder to make"
    )
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="TOML file with what the model shall say of itself: title, data, licence, ...",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, with the settings and the images that it was started "
        "with",
    )
    parser.add_argument(
        "--changed-data",
        choices=("keep", "redraw"),
        help="with --resume, go on although images were added, removed or changed: keep the parts "
        "and leave new images out, or redraw the parts (default: stop and say what has changed)",
    )
    parser.add_argument(
        "--trust-paths",
        action="store_true",
        help="with --resume, use the folders that the checkpoint names although the run is from "
        "somebody else or was moved",
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="start from the weights of a model folder or bundled model; set the epochs of "
        "training.image_vae and training.mask_vae to 0 to keep its VAEs as they are",
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
        type=int,
        help="seed of all that is random: first weights, order of the images, noise (default: "
        f"{usual.seed})",
    )
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    run.add_argument(
        "--cache",
        type=Path,
        metavar=FOLDER,
        help="keep decoded images there, so that the next run starts at once; they are copies: "
        "choose a place as private as the images",
    )
    run.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, for example training.flow.epochs=100; may be repeated",
    )


def _flag_overrides(args: argparse.Namespace) -> list[str]:
    flags: dict[str, Any] = {
        "data.images": args.images and args.images.resolve(),
        "data.masks": args.masks and args.masks.resolve(),
        "data.folder": args.data and args.data.resolve(),
        "data.split_file": args.split and args.split.resolve(),
        "data.mask_threshold": args.mask_threshold,
        "data.skip_bad": "true" if args.skip_bad else None,
        "data.cache": args.cache and args.cache.resolve(),
        "training.device": args.device,
        "training.precision": args.precision,
        "training.seed": args.seed,
    }
    # What the command names takes the place of what the configuration names otherwise.
    if args.data:
        flags |= {"data.images": "null", "data.masks": "null"}
    elif args.images or args.masks:
        flags["data.folder"] = "null"
    limits = {f"data.reading.{name}": value for name, value in reading_overrides(args).items()}
    flags |= {key: str(value).lower() for key, value in limits.items()}
    return [f"{key}={value}" for key, value in flags.items() if value is not None]


def make_config(args: argparse.Namespace) -> Config:
    """Return the configuration: file or preset, then flags, then ``--set``."""
    if not args.resume and (args.trust_paths or args.changed_data):
        raise ConfigError("--trust-paths and --changed-data belong to --resume: leave them out.")
    if args.resume:
        if args.config or args.preset:
            raise ConfigError(
                "--resume goes on with the settings of the run itself: leave --config and "
                "--preset out; --set may still change single settings."
            )
        named = args.data is not None or (args.images is not None and args.masks is not None)
        config = resumed_config(args.out, args.trust_paths, named=named)
    elif args.config:
        config = load_config(args.config)
    else:
        config = preset(args.preset or "default")
        if args.init is not None and config == preset("default"):
            config = _with_network_of(config, args.init)
    refuse_two_sources(args)
    config = with_overrides(config, _flag_overrides(args))
    if (args.group_file is None) != (args.group_column is None):
        raise ConfigError("--group-file and --group-column belong together: give both or none.")
    if args.group_file is not None:
        group = {"group_file": args.group_file.resolve(), "group_column": args.group_column}
        config = config.model_copy(update={"data": config.data.model_copy(update=group)})
    if not args.resume:
        config = with_classes_of_folder(config)
    if args.preset in _FROM_PARENT:
        config = _from_parent(config, args)
    config = with_overrides(config, args.overrides)
    if config.data.folder is not None:
        layout = read_layout(config.data.folder, config.data.reading)
        layout.check_classes(len(config.model.classes))
    return config


def _with_network_of(config: Config, model: str | Path) -> Config:
    """Return the configuration for weights that start from a model: its network and input."""
    card = read_card(resolve_model(model)).config
    data = config.data.model_copy(update={"size": card.data.size, "fit": card.data.fit})
    values = config.model_copy(update={"model": card.model, "data": data}).to_json()
    values["model"]["distilled_steps"] = 0  # made from the flow, by its own stage
    return config_from_mapping(values)


_FROM_PARENT = {PRESET: finetune_config, DISTILL: distill_config}
"""Presets that train a finished model on."""


def _from_parent(config: Config, args: argparse.Namespace) -> Config:
    if args.init is None:
        raise ConfigError(f"--preset {args.preset} trains a model on: name it, --init MODEL.")
    make = _FROM_PARENT[args.preset]
    return make(read_card(resolve_model(args.init)), config.data, config)


def _read_card(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    return read_toml(path)


def train(args: argparse.Namespace, command: str) -> int:
    """Run the command; return its exit code."""
    launch = read_launch()
    if not launch.first:  # one voice is enough; errors are told by whoever meets them
        logging.getLogger("latentfm_core").setLevel(logging.ERROR)
    flag = StopFlag(launched=launch.size > 1)
    flag.install()
    options = RunOptions(
        out=args.out,
        resume=args.resume,
        tensorboard=args.tensorboard,
        should_stop=flag,
        command=command,
        card=_read_card(args.card),
        init=args.init,
        changed_data=args.changed_data or "refuse",
        urgent=flag,
    )
    config = make_config(args)
    if args.resume and _is_finished(config, options):
        return 0
    run: FineTune | Trainer
    if args.preset == PRESET or (args.resume and is_learning(args.out)):
        run = FineTune(config, options)
    else:
        run = Trainer(config, options)
    flag.begin()
    if run.run() is None:
        again = ["latentfm-train", "--out", str(args.out), "--resume"]
        if not follows_paths(args.out):
            again.append("--trust-paths")
        logger.warning("Stopped; everything so far is saved. To go on: %s", shlex.join(again))
        return EXIT_INTERRUPTED
    if not launch.first:
        return 0
    card = read_card(args.out)
    figures = ", ".join(f"{key} {value:.4f}" for key, value in sorted(card.metrics.items()))
    logger.info("Model written to %s (%s)", args.out, figures or "no validation part")
    return 0


def _is_finished(config: Config, options: RunOptions) -> bool:
    """Tell whether the run has nothing left to do, and say so.

    Raises
    ------
    CheckpointError
        If the settings ask for something else.
    """
    judged = not is_learning(options.out) or (options.out / TRAINING / VERDICT).is_file()
    if finished_card(options.out) is None or not judged:
        return False
    check_resumed(read_checkpoint(options.out / TRAINING), config, options.out)
    with one_writer(options.out, "writing to", "Wait until it has finished."):
        pass  # takes away the lock of a process that was killed at its end
    logger.info("The run in %s is finished; nothing was left to do.", options.out)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``latentfm-train``; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join(["latentfm-train", *arguments])
    return run_cli(
        lambda args: train(args, command),
        build_parser(),
        arguments,
        memory_hint="Lower batch_size of the stage (--set training.flow.batch_size=8) or data.size",
    )


if __name__ == "__main__":
    sys.exit(main())
