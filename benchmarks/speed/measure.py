"""Measure cells in turn, each in a new process to separate memory peaks."""

from __future__ import annotations

import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tqdm import tqdm

from benchmarks.speed.contenders import make
from benchmarks.speed.job import Job
from latentfm_core.bars import is_quiet
from latentfm_core.errors import LatentFMError

logger = logging.getLogger(__name__)
LEAST_SECONDS = 1.5
"""A cell is repeated until this many seconds were measured."""
MOST_CALLS = 7

Clock = Literal["wall", "processor"]
CLOCKS: dict[Clock, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}
"""Processor time, summed over threads, excludes other programs."""


@dataclass(frozen=True)
class Measured:
    """Measurements of a cell.

    Attributes
    ----------
    seconds
        Of a call, median over calls and rounds, times ``job.times``.
    rounds
        The same of each round.
    megabytes
        Highest resident memory of its process, PyTorch included.
    """

    job: Job
    seconds: float
    rounds: tuple[float, ...]
    megabytes: float


def measure_here(job: Job, clock: Clock = "wall") -> dict[str, float]:
    """Time a cell in this process."""
    # Batches speed up small networks only on some machines: use the faster variant.
    sizes = (1, job.samples) if job.samples > 1 and "dropout" in job.name else (1,)
    now, best = CLOCKS[clock], float("inf")
    for batch in sizes:
        call = make(job, batch)
        call()
        times: list[float] = []
        while sum(times) < LEAST_SECONDS and len(times) < MOST_CALLS:
            start = now()
            call()
            times.append(now() - start)
        best = min(best, statistics.median(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    megabytes = peak / (2**20 if sys.platform == "darwin" else 2**10)
    return {"seconds": best, "megabytes": megabytes}


def _child(job: Job, threads: int, clock: Clock) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed", "--child", json.dumps(asdict(job))]
    command += ["--clock", clock]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LatentFMError(f"{job.label} failed: {done.stderr.strip()[-800:]}")
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def measure(
    jobs: Sequence[Job], rounds: int, threads: int, clock: Clock = "wall"
) -> list[Measured]:
    """Measure all cells, one after the other, `rounds` times over."""
    # Cells that differ only in their factor share a measurement.
    found: dict[Job, list[dict[str, float]]] = {_bare(job): [] for job in jobs}
    with tqdm(total=rounds * len(found), unit="cell", disable=is_quiet(logger)) as bar:
        for _ in range(rounds):
            for job in found:
                bar.set_postfix_str(f"{job.label}, {job.size} px, N = {job.samples}")
                found[job].append(_child(job, threads, clock))
                bar.update()
    return [_summary(job, found[_bare(job)]) for job in jobs]


def _bare(job: Job) -> Job:
    return replace(job, times=1.0, shown=0)


def _summary(job: Job, values: list[dict[str, float]]) -> Measured:
    seconds = tuple(value["seconds"] * job.times for value in values)
    peak = max(value["megabytes"] for value in values)
    return Measured(job, statistics.median(seconds), seconds, peak)


def to_json(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return plain JSON values."""
    return [asdict(cell) for cell in cells]
