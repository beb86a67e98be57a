"""Command line of the comparison."""

from __future__ import annotations

import argparse
import logging
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from benchmarks.accuracy.datasets import DATASETS
from benchmarks.accuracy.rows import ROWS
from benchmarks.accuracy.run_all import run_all
from benchmarks.accuracy.runner import RESULT, TRAINING, run_row
from benchmarks.accuracy.settings import Clock, RunSettings
from benchmarks.accuracy.table import FIGURES, Pairing, write_table
from benchmarks.intervals import read_column
from latentfm_core.cli.common import run_cli
from latentfm_core.config import SolverName
from latentfm_core.errors import ConfigError, LatentFMError

logger = logging.getLogger(__name__)

PROGRAM = "python -m benchmarks.accuracy"
TABLE = "table.md"

_PASSED_ON = {
    "size": int,
    "budget": float,
    "samples": int,
    "steps": int,
    "limit": int,
    "val_limit": int,
    "mask_threshold": float,
    "batch_size": int,
    "learning_rate": float,
    "weight_decay": float,
    "ema_decay": float,
    "encoder_rate": float,
}
"""Numbers of `RunSettings` that are flags of the same name; absent ones keep their default."""

_HELP = {
    "size": "side of the square input in pixels",
    "budget": "seconds of optimisation",
    "samples": "N, samples per image",
    "steps": "K, sampler steps (default: that of the row)",
    "limit": "maximum number of test images",
    "val_limit": "most validation images for the threshold; 0 takes all",
    "mask_threshold": "grey level above which a mask pixel is foreground",
    "encoder_rate": "learning rate of the encoder of lite_unet, as a share",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with its four commands."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    train = commands.add_parser("train-and-evaluate", help="one row from data to result.json")
    train.add_argument("--row", choices=ROWS, required=True)
    _add_data(train)
    _add_common(train)
    given = commands.add_parser("evaluate-only", help="an existing LatentFM model folder")
    given.add_argument("--model", type=Path, required=True, help="model folder")
    _add_data(given)
    _add_common(given)
    everything = commands.add_parser("run-all", help="all rows of a known data set")
    everything.add_argument("--dataset", choices=sorted(DATASETS), required=True)
    everything.add_argument("--data", type=Path, default=Path("../shared/data"))
    everything.add_argument("--out", type=Path, help="default: runs/accuracy/DATASET")
    everything.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    everything.add_argument("--seeds", nargs="+", type=int, default=[0])
    _add_common(everything, seed=False)
    _add_pairing(everything)
    table = commands.add_parser("table", help="Markdown table of finished rows")
    table.add_argument("--runs", type=Path, required=True)
    table.add_argument("--out", type=Path, required=True)
    _add_pairing(table)
    return parser


def _add_pairing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("paired comparison in the table")
    group.add_argument("--reference", help="row to compare with (default: the first)")
    group.add_argument(
        "--figures",
        nargs="+",
        default=list(FIGURES),
        metavar="COLUMN",
        help=f"columns of per_image.csv (default: {' '.join(FIGURES)})",
    )
    group.add_argument(
        "--groups",
        nargs=2,
        metavar=("FILE", "COLUMN"),
        help="CSV file with the columns image and COLUMN; images of one group count once",
    )


def _pairing(args: argparse.Namespace) -> Pairing:
    groups = read_column(Path(args.groups[0]), "image", args.groups[1]) if args.groups else {}
    return Pairing(args.reference, tuple(args.figures), groups)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True, help="JSON with train, val, test")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")


def _add_common(parser: argparse.ArgumentParser, seed: bool = True) -> None:
    for name, kind in _PASSED_ON.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=_HELP.get(name))
    if seed:
        parser.add_argument("--seed", type=int)
        parser.add_argument("--label", help="name in the table (default: the row)")
    parser.add_argument(
        "--clock",
        choices=get_args(Clock),
        help="what the budget counts: wall seconds (usual), or those of the processor (with one "
        "thread, on a machine that does other work too)",
    )
    parser.add_argument("--solver", choices=get_args(SolverName))
    parser.add_argument("--device", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"))
    parser.add_argument(
        "--shares", type=float, nargs=3, help="of the budget: image VAE, mask VAE, flow"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        action="append",
        help="change a LatentFM setting; may be repeated",
    )
    parser.add_argument("--overwrite", action="store_true", help="repeat finished rows")


def make_settings(args: argparse.Namespace) -> RunSettings:
    """Return the validated settings of one row.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """
    names = [*_PASSED_ON, "seed", "clock", "solver", "device", "precision", "overrides", "shares"]
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if values.get("val_limit") == 0:
        values["val_limit"] = None
    row = "evaluate-only" if args.action == "evaluate-only" else args.row
    values |= {"row": row, "label": args.label or row, "model": getattr(args, "model", None)}
    values |= {name: getattr(args, name) for name in ("images", "masks", "split", "out")}
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"These settings cannot be used: {error}") from None


def _one_row(args: argparse.Namespace, command: str) -> int:
    settings = make_settings(args)
    if (settings.out / RESULT).is_file() and not args.overwrite:
        logger.info("%s is already finished; --overwrite repeats it", settings.out)
        return 0
    if args.overwrite:
        (settings.out / RESULT).unlink(missing_ok=True)
        (settings.out / TRAINING).unlink(missing_ok=True)
        shutil.rmtree(settings.out / "model", ignore_errors=True)
    run_row(settings, command)
    return 0


def _passed_on(args: argparse.Namespace) -> list[str]:
    """Return the flags of ``run-all`` that every row gets."""
    extra: list[str] = []
    for name in (*_PASSED_ON, "clock", "solver", "device", "precision"):
        value = getattr(args, name)
        if value is not None:
            extra += [f"--{name.replace('_', '-')}", str(value)]
    if args.overrides:
        raise ConfigError("--set belongs to single rows: use train-and-evaluate with --label.")
    if args.shares is not None:
        extra += ["--shares", *map(str, args.shares)]
    flags = {"--overwrite": args.overwrite, "--quiet": args.quiet, "--verbose": args.verbose}
    return extra + [flag for flag, given in flags.items() if given]


def run(args: argparse.Namespace, command: str) -> int:
    """Run the chosen command; return its exit code."""
    if args.action == "table":
        write_table(args.runs, args.out, _pairing(args))
        logger.info("written to %s", args.out)
        return 0
    if args.action != "run-all":
        return _one_row(args, command)
    out = args.out or Path("runs/accuracy") / args.dataset
    failed = run_all(args.dataset, args.rows, args.seeds, args.data, out, _passed_on(args))
    if any(out.rglob(RESULT)):
        write_table(out, out / TABLE, _pairing(args))
        logger.info("table written to %s", out / TABLE)
    if failed:
        raise LatentFMError(f"These rows failed: {', '.join(failed)}.")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([*PROGRAM.split(), *arguments])
    return run_cli(lambda args: run(args, command), build_parser(), arguments, package="benchmarks")
