"""Kill every victim and print a table: ``python -m robustness.crash --kills 200 --seed 0``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m robustness.crash",
        description="Kill training, prediction, autosave and export (SIGKILL) at random moments, "
        "restart them, and compare the results with undisturbed runs. The exit "
        "code is 1 if there are findings. Needs fork.",
    )
    parser.add_argument("--kills", type=int, default=200, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of all moments")
    parser.add_argument(
        "--steered",
        type=float,
        default=0.6,
        help="share of the kills chosen by file operations, not by time",
    )
    parser.add_argument("--victims", help="names, separated by commas (default: all)")
    parser.add_argument(
        "--module", default="robustness.crash.scenarios", help="module that defines VICTIMS"
    )
    parser.add_argument("--folder", type=Path, help="working folder (default: a temporary folder)")
    parser.add_argument("--report", type=Path, help="JSON file for counts and findings")
    return parser


def main() -> int:
    """Run the command; return 1 if there are findings."""
    args = build_parser().parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        # PyTorch threads do not survive a fork.
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "robustness.crash", *sys.argv[1:]])
    warnings.simplefilter("ignore", DeprecationWarning)
    from robustness.crash.rounds import Rounds, Tally

    victims = importlib.import_module(args.module).VICTIMS
    names = args.victims.split(",") if args.victims else list(victims)
    shares, begin = sum(victims[name].share for name in names), time.monotonic()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        for name in names:
            folder = Path(scratch) / name.replace(" ", "_")
            folder.mkdir()
            rng = random.Random(f"{args.seed} {name}")
            rounds = Rounds(victims[name], folder, rng, args.steered)
            kills = -(-args.kills * victims[name].share // shares)
            tallies[name] = rounds.run(kills)
            for found in tallies[name].findings:
                print(f"{name}, {found}\n", file=sys.stderr, flush=True)
    print("| work | kills | at a write | rounds to the end | findings |\n| --- |" + " --: |" * 4)
    for name, tally in tallies.items():
        counts = (tally.kills, tally.steered, tally.rounds, len(tally.findings))
        print(f"| {name} | {' | '.join(map(str, counts))} |")
    findings = [each for tally in tallies.values() for each in tally.findings]
    kills = sum(tally.kills for tally in tallies.values())
    print(f"{kills} kills, {len(findings)} findings, {time.monotonic() - begin:.0f} s in all")
    if args.report is not None:
        content = {name: asdict(tally) for name, tally in tallies.items()}
        args.report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
