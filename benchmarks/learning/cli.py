"""The command line of the benchmark, and its result file."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning.measure import learn, measure
from benchmarks.learning.parts import SPLIT_FILE, draw_parts, read_parts, write_parts
from latentfm_core.cli.common import print_line, run_cli
from latentfm_core.config import DEFAULT_MODEL
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.files.atomic import write_text
from latentfm_core.images.read import list_images
from latentfm_core.inference.device import describe, resolve_device, resolve_precision
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.output.sidecar import now, versions

logger = logging.getLogger(__name__)

PROGRAM = "python -m benchmarks.learning"
RESULT = "result.json"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Learn breast ultrasound from a few corrected images, and measure the gain.",
    )
    commands = parser.add_subparsers(dest="action", required=True)
    split = commands.add_parser("split", help="draw the split file again, with its fixed seed")
    run = commands.add_parser("run", help="fine-tune and measure")
    for command in (split, run):
        command.add_argument("--data", type=Path, default=Path("../shared/data/busi"))
        command.add_argument("--split", type=Path, default=SPLIT_FILE)
    run.add_argument("--out", type=Path, default=Path("runs/learning/busi"))
    run.add_argument("--model", default=DEFAULT_MODEL, help="model to start from")
    run.add_argument("--counts", type=int, nargs="+", default=[20], help="corrected images")
    run.add_argument(
        "--tuning", action="store_true", help="use the tuning images, for choices of the recipe"
    )
    run.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    return parser


def _run(args: argparse.Namespace, command: str) -> None:
    parts = read_parts(args.split)
    pairs = {pair.name: pair for pair in find_pairs(args.data / "images", args.data / "masks")}
    train = parts.tuning_train if args.tuning else parts.train
    test = parts.tuning_val if args.tuning else parts.test
    cases = [pairs[name] for name in test]
    parent = read_card(resolve_model(args.model))
    device = resolve_device("auto")
    result: dict[str, Any] = {
        "schema_version": 1,
        "part": "tuning" if args.tuning else "test",
        "n_test": len(cases),
        "parent": {"id": parent.id, "sha256": parent.weights_sha256},
        "device": describe(device, resolve_precision("auto", device)),
        "threads": torch.get_num_threads(),
        "overrides": args.overrides,
        "command": command,
        "versions": versions(),
        "learned": {},
    }
    result["before"] = measure(args.model, cases, "before")
    for count in args.counts:
        out = args.out / str(count)
        corrected = [pairs[name] for name in train[:count]]
        log = learn(args.model, args.data / "images", corrected, out, args.overrides)
        log["figures"] = measure(out / "model", cases, f"after {count}")
        result["learned"][str(count)] = log
        result["created"] = now()
        write_text(args.out / RESULT, json.dumps(result, indent=1) + "\n")
    print_line(table(result))


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    before = result["before"]
    lines = [
        f"| corrected images | Dice on {result['n_test']} others | IoU | gain in Dice | seconds |",
        "| --- | --- | --- | --- | --- |",
        f"| 0 (before) | {before['dice']:.3f} | {before['iou']:.3f} | | |",
    ]
    for count, log in result["learned"].items():
        after = log["figures"]
        gain = after["dice"] - before["dice"]
        lines.append(
            f"| {count} | {after['dice']:.3f} | {after['iou']:.3f} | {gain:+.3f} | "
            f"{log['seconds']:.0f} |"
        )
    return "\n".join(lines)


def run(args: argparse.Namespace, command: str) -> int:
    """Run the chosen command; return its exit code."""
    if args.action == "split":
        names = [path.stem for path in list_images(args.data / "images")]
        write_parts(args.split, draw_parts(names))
        logger.info("written to %s", args.split)
    else:
        _run(args, command)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([*PROGRAM.split(), *arguments])
    return run_cli(lambda args: run(args, command), build_parser(), arguments, package="benchmarks")
