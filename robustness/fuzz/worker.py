"""Worker process that runs a range of cases and reports each before it starts."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

MEGA = 2**20


def limit_memory(extra: int) -> None:
    """Let this process take `extra` bytes more of address space than it has now."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, size + extra))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Run the cases that the arguments name."""
    parser = argparse.ArgumentParser()
    for name in ("seed", "start", "count", "megabytes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--module", required=True)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keep library output out of the report
    faulthandler.enable()
    from robustness.fuzz.cases import Runner

    targets = importlib.import_module(args.module).TARGETS
    with tempfile.TemporaryDirectory() as name:
        runner = Runner(targets, args.seed, Path(name), args.seconds)
        for target in targets.values():
            target.make(random.Random(0))  # create the valid files
        limit_memory(args.megabytes * MEGA)
        counts: Counter[str] = Counter()
        slowest = 0.0
        for index in range(args.start, args.start + args.count):
            print(f"@{index}", file=output, flush=True)
            outcome = runner.run(index)
            counts[f"{outcome.target} {outcome.kind}"] += 1
            slowest = max(slowest, outcome.seconds)
            if outcome.is_finding:
                print(json.dumps({"index": index, **asdict(outcome)}), file=output, flush=True)
        print(json.dumps({"counts": counts, "slowest": slowest}), file=output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
