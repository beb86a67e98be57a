"""Command line of the speed benchmark."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.speed.contenders import OWN, jobs, prompted_jobs
from benchmarks.speed.floor import floors
from benchmarks.speed.job import Job
from benchmarks.speed.measure import CLOCKS, measure, measure_here, to_json
from benchmarks.speed.table import page
from latentfm_core.cli.common import run_cli
from latentfm_core.files.atomic import write_text
from latentfm_core.inference.device import describe, resolve_precision

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="256 px, N = 1 and 16, K = 1 and 4")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="pixels")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4, 16, 64], help="N")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 10], help="K")
    parser.add_argument(
        "--own", action="store_true", help="only LatentFM, for its growth with N and pixels"
    )
    parser.add_argument(
        "--prompted", action="store_true", help="only the rows of a promptable model"
    )
    parser.add_argument(
        "--prompted-model",
        default="",
        help="promptable model or model folder (default: an untrained one of the default preset)",
    )
    parser.add_argument(
        "--prompted-sizes",
        type=int,
        nargs="*",
        default=[256],
        help="pixels, beside the model's own size",
    )
    parser.add_argument("--rounds", type=int, default=2, help="times that all cells are measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=sorted(CLOCKS),
        default="wall",
        help="processor: seconds of the processor, for a machine that does other work too",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/speed.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure, and write JSON and a Markdown page next to it."""
    if args.child:
        print(json.dumps(measure_here(Job(**json.loads(args.child)), args.clock)))
        return 0
    if args.quick:
        args.sizes, args.samples, args.steps = [256], [1, 16], [1, 4]
    torch.set_num_threads(args.threads)
    wanted = jobs(args.sizes, args.samples, args.steps)
    if args.own:
        wanted = [job for job in wanted if job.name == OWN]
    else:
        prompted = prompted_jobs(args.prompted_sizes, args.prompted_model)
        wanted = prompted if args.prompted else wanted + prompted
    cells = measure(wanted, args.rounds, args.threads, args.clock)
    parts = floors(min(16, max(args.samples)), min(args.sizes), CLOCKS[args.clock])
    device = describe(torch.device("cpu"), resolve_precision("auto", torch.device("cpu")))
    device += f", {args.clock} clock"
    content = {"device": device, "cells": to_json(cells), "floor": [asdict(part) for part in parts]}
    write_text(args.out, json.dumps(content, indent=1) + "\n")
    write_text(args.out.with_suffix(".md"), page(cells, parts, device))
    logger.info("written to %s and %s", args.out, args.out.with_suffix(".md"))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_cli(run, build_parser(), arguments, package="benchmarks")
