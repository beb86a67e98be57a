"""Command line of the prompt benchmark."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from benchmarks.accuracy.settings import Clock
from benchmarks.prompts.cases import select
from benchmarks.prompts.datasets import DATASETS
from benchmarks.prompts.run import ROWS, make_method, run_row, summarise_row
from benchmarks.prompts.settings import DataSettings, MeasureSettings
from benchmarks.prompts.table import page
from benchmarks.prompts.unet_training import train_unet
from latentfm_core.cli.common import print_line, run_cli
from latentfm_core.config import load_config, with_overrides
from latentfm_core.datasets.object_set import Kind
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.files.atomic import write_text
from latentfm_core.inference.device import describe, resolve_device, resolve_precision
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.folder import read_card
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now, versions

logger = logging.getLogger(__name__)

PROGRAM = "python -m benchmarks.prompts"
SPLITS = Path("configs/splits")

SettingsT = TypeVar("SettingsT", DataSettings, MeasureSettings)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    _add_run(commands.add_parser("run", help="measure methods on one data set"))
    table = commands.add_parser("table", help="combine several results in one page")
    table.add_argument("results", type=Path, nargs="+", help="JSON files of runs")
    table.add_argument("--out", type=Path, required=True)
    train = commands.add_parser("train-unet", help="U-Net with the same encoder and prompts")
    train.add_argument("--config", type=Path, required=True, help="configuration of LatentFM")
    train.add_argument("--budget", type=float, required=True, help="seconds of optimisation")
    train.add_argument("--clock", choices=get_args(Clock), default="wall")
    train.add_argument("--out", type=Path, required=True, help="folder of the network")
    train.add_argument("--set", dest="overrides", action="append", default=[])
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    data = run.add_argument_group("data: a known set, or folders")
    data.add_argument("--dataset", choices=sorted(DATASETS))
    data.add_argument("--data", type=Path, default=Path("../shared/data"), help="of known sets")
    data.add_argument("--images", type=Path)
    data.add_argument("--masks", type=Path)
    data.add_argument("--split", type=Path, help="JSON with train, val and test")
    data.add_argument("--part", choices=("train", "val", "test"), default="test")
    data.add_argument("--kind", choices=get_args(Kind), help="instances: objects are numbered")
    data.add_argument("--mask-threshold", type=float)
    data.add_argument("--group-file", type=Path, help="CSV, for confidence intervals over groups")
    data.add_argument("--group-column", help="its column of groups")
    data.add_argument("--group-key", default="image", help="its column of image names")
    data.add_argument("--limit", type=int, help="maximum number of images, drawn at random")
    data.add_argument("--subset-seed", type=int, default=2018, help="of that draw")
    run.add_argument("--rows", nargs="+", choices=ROWS, default=["model", "ellipse"])
    run.add_argument("--model", default="generalist", help="bundled model or model folder")
    run.add_argument("--unet", type=Path, help="folder of train-unet, for the row unet")
    run.add_argument("--samples", type=int, help="N of the mean mask (default: the model's)")
    run.add_argument("--steps", type=int, help="K (default: the model's)")
    run.add_argument("--hypotheses", type=int, default=16, help="N of best sample, GED, HM-IoU")
    run.add_argument("--most-clicks", type=int, default=10, help="cap of the number of clicks")
    run.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each")
    run.add_argument("--device", default="auto")
    run.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    run.add_argument("--out", type=Path, required=True, help="JSON file, and a page next to it")


def data_settings(args: argparse.Namespace) -> DataSettings:
    """Return the data named by the arguments.

    Raises
    ------
    ConfigError
        If neither a known set nor folders are named, or a value is out of range.
    """
    values: dict[str, Any] = {
        "part": args.part,
        "mask_threshold": args.mask_threshold,
        "limit": args.limit,
        "subset_seed": args.subset_seed,
        "split": args.split,
    }
    if args.dataset is not None:
        known = DATASETS[args.dataset]
        folder = args.data / known.folder
        values |= {"name": args.dataset, "kind": args.kind or known.kind}
        values |= {"images": folder / "images", "masks": folder / "masks"}
        if args.split is None and known.split is not None:
            values["split"] = SPLITS / known.split
        if known.group_file is not None:
            values |= {"group_file": folder / known.group_file, "group_key": known.group_key}
            values["group_column"] = known.group_column
    elif args.images is None or args.masks is None:
        raise ConfigError("Name the data: --dataset NAME, or --images FOLDER and --masks FOLDER.")
    else:
        values |= {"name": args.images.resolve().parent.name, "kind": args.kind or "masks"}
        values |= {"images": args.images, "masks": args.masks}
    if args.group_file is not None:
        values |= {"group_file": args.group_file, "group_column": args.group_column}
        values["group_key"] = args.group_key
    return _validated(DataSettings, values)


def measure_settings(args: argparse.Namespace) -> MeasureSettings:
    """Return the sampling and counting settings.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """
    names = ("samples", "steps", "hypotheses", "most_clicks", "device", "precision")
    values = {name: getattr(args, name) for name in names} | {"seeds": tuple(args.seed)}
    return _validated(MeasureSettings, values)


def _validated(kind: type[SettingsT], values: dict[str, Any]) -> SettingsT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"These settings cannot be used: {error}") from None


def _run(args: argparse.Namespace, command: str) -> None:
    data, settings = data_settings(args), measure_settings(args)
    selection = select(data)
    device = resolve_device(settings.device)
    result: dict[str, Any] = {
        "schema_version": 1,
        "command": printable(command),
        "data": data.to_json(),
        "settings": settings.model_dump(mode="json"),
        "device": describe(device, resolve_precision(settings.precision, device)),
        "versions": versions(),
        "rows": {},
    }
    if "model" in args.rows:
        card = read_card(resolve_model(args.model))
        result["model"] = {"id": card.id, "sha256": card.weights_sha256}
    methods = [make_method(row, args.model, args.unet, settings) for row in args.rows]
    for method in methods:
        images = run_row(method, selection, data, settings)
        result["images"] = len(images)
        result["rows"][method.label] = {
            "figures": summarise_row(images),
            "per_image": [vars(image) for image in images],
        }
        # After each row: hours of work may be in it.
        result["created"] = now()
        write_text(args.out, json.dumps(result, indent=1, allow_nan=False) + "\n")
        write_text(args.out.with_suffix(".md"), page([result]))
    print_line(page([result]))
    logger.info("written to %s and %s", args.out, args.out.with_suffix(".md"))


def _table(args: argparse.Namespace) -> None:
    results = []
    for path in args.results:
        try:
            results.append(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise DatasetError(f"Cannot read the result {path}: {error}.") from None
    write_text(args.out, page(results))
    logger.info("written to %s", args.out)


def run(args: argparse.Namespace, command: str) -> int:
    """Run the chosen command; return its exit code."""
    if args.action == "run":
        _run(args, command)
    elif args.action == "table":
        _table(args)
    else:
        config = with_overrides(load_config(args.config), args.overrides)
        train_unet(config, args.budget, args.clock, args.out, command)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([*PROGRAM.split(), *arguments])
    return run_cli(lambda args: run(args, command), build_parser(), arguments, package="benchmarks")
