"""Run cases in worker processes and report the findings."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Wall-clock timeout of a case in seconds."""

START_PATIENCE = 600.0
"""Wall-clock timeout of a worker's start, which imports PyTorch and writes the good files."""


@dataclass
class Report:
    """Results of all cases."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line from a worker."""
        with self.lock:
            if "counts" in line:
                self.counts.update(line["counts"])
                self.slowest = max(self.slowest, line["slowest"])
            else:
                self.findings.append(line)
                last = line["detail"].strip().splitlines()[-1:]
                print(f"case {line['index']}: {line['kind']} {last}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """Return the cases of every target as lines of a table."""
        found = {tuple(key.split()): count for key, count in self.counts.items()}
        lines = ["| target | cases | read | refused | findings |", "| --- |" + " --: |" * 4]
        for name in sorted({name for name, _ in found}):
            of = {kind: count for (each, kind), count in found.items() if each == name}
            total, read, refused = sum(of.values()), of.get("value", 0), of.get("refused", 0)
            lines.append(f"| {name} | {total} | {read} | {refused} | {total - read - refused} |")
        return "\n".join(lines)


def run_range(args: argparse.Namespace, start: int, count: int, report: Report) -> None:
    """Run cases in workers; after a crash a new worker continues with the next case."""
    end = start + count
    while start < end:
        start = _run_worker(args, start, end - start, report)


def _run_worker(args: argparse.Namespace, start: int, count: int, report: Report) -> int:
    """Return the next case."""
    words = [sys.executable, "-m", "robustness.fuzz.worker", "--seed", args.seed, "--start", start]
    words += ["--count", count, "--seconds", args.seconds, "--megabytes", args.megabytes]
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    index = start - 1
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [str(word) for word in [*words, "--module", args.module]],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
        ) as process,
    ):  # fmt: skip
        watchdog = _Watchdog(process)
        for line in process.stdout or ():
            watchdog.touch()
            if line.startswith("@"):
                index = int(line[1:])
                continue
            report.add(json.loads(line))
        code = process.wait()
        watchdog.close()
        if code == 0:
            return start + count
        log.seek(0)
        kind = "hang" if watchdog.killed else "crash"
        detail = f"the process ended with {code}: {log.read()[-2000:]}"
    if index < start:
        raise SystemExit(f"The worker did not start: {detail}")
    report.add({"index": index, "target": "?", "kind": kind, "detail": detail, "seconds": PATIENCE})
    report.add({"counts": {f"? {kind}": index - start + 1}, "slowest": 0.0})
    return index + 1


class _Watchdog:
    """Kills a worker that is silent for too long: `START_PATIENCE`, later `PATIENCE` seconds."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._last, self._open = process, time.monotonic(), True
        self._patience = START_PATIENCE
        self.killed = False
        threading.Thread(target=self._watch, daemon=True).start()

    def touch(self) -> None:
        """Reset the timeout."""
        self._last, self._patience = time.monotonic(), PATIENCE

    def close(self) -> None:
        """Stop watching."""
        self._open = False

    def _watch(self) -> None:
        while self._open:
            time.sleep(0.5)
            if time.monotonic() - self._last > self._patience and self._open:
                self.killed = True
                self._process.kill()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m robustness.fuzz",
        description="Feed damaged files to every reader. A case may end with a "
        "value or with an error for the user; anything else is a finding, and the exit code is 1.",
    )
    parser.add_argument("--cases", type=int, default=10_000, help="number of cases")
    parser.add_argument("--seed", type=int, default=0, help="seed of all cases")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes")
    parser.add_argument("--batch", type=int, default=5000, help="cases of one process")
    parser.add_argument("--seconds", type=float, default=5.0, help="processor time of a case")
    parser.add_argument(
        "--megabytes", type=int, default=1024, help="memory above that of the good files"
    )
    parser.add_argument("--module", default="robustness.fuzz.targets", help="module with TARGETS")
    parser.add_argument("--report", type=Path, help="JSON file for findings and counts")
    return parser


def main() -> int:
    """Run the command; return 1 if there are findings."""
    args = build_parser().parse_args()
    report, begin = Report(), time.monotonic()
    ranges = [
        (start, min(args.batch, args.start + args.cases - start))
        for start in range(args.start, args.start + args.cases, args.batch)
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(run_range, args, *each, report) for each in ranges]:
            done.result()
    for found in report.findings:
        print(f"case {found['index']} ({found['target']}): {found['kind']}\n{found['detail']}\n")
    print(report.table())
    print(
        f"{sum(report.counts.values())} cases, {len(report.findings)} findings, slowest "
        f"{report.slowest:.2f} s of processor time, {time.monotonic() - begin:.0f} s in all"
    )
    if args.report is not None:
        content = {"counts": report.counts, "slowest": report.slowest, "findings": report.findings}
        args.report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
