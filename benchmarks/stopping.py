"""Response time of latentfm-train to Ctrl+C, in every phase of a run.

    python -m benchmarks.stopping --images IMAGES --masks MASKS --rounds 5

Each round starts a training, waits until a phase has begun, sends SIGINT after a random time, and
measures the seconds until the command reports that it has saved, and until the process ends
(which includes the shutdown of Python and PyTorch). The settings are those of the preset, so that
a step takes as long as for a user. Prints one line for each phase, with the number of runs whose
checkpoint --resume accepts.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from latentfm_core.errors import CheckpointError
from latentfm_core.training.resuming import resumed_config

PHASES = {
    "start": "",
    "reading images": "reading training images",
    "first stage": "mask_vae:",
    "flow": "flow:",
}
"""Output that marks the start of a phase."""

LONGEST_DELAY = 4.0
"""Seconds within a phase before the signal."""

PATIENCE = 600.0
"""Timeout for the start of a phase in seconds."""


ENDINGS = ("To continue:", "interrupted")
"""Output when everything is saved, or there is nothing to save."""


def stop_in(phase: str, words: list[str], out: Path, delay: float) -> tuple[float, float]:
    """Start a run and stop it; return the seconds from the signal to its message and its end."""
    command = [sys.executable, "-m", "latentfm_core.cli.train", *words, "--out", str(out)]
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stderr=printed, stdout=printed)
        deadline = time.monotonic() + PATIENCE
        while PHASES[phase] not in _text(printed.fileno()):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"The phase {phase!r} did not begin:\n{_text(printed.fileno())}")
            time.sleep(0.02)
        time.sleep(delay)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        obeyed = None
        while process.poll() is None:
            if obeyed is None and any(text in _text(printed.fileno()) for text in ENDINGS):
                obeyed = time.monotonic() - begin
            time.sleep(0.02)
        ended = time.monotonic() - begin
        return ended if obeyed is None else obeyed, ended


def _text(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").read_text(errors="replace")


def _resumes(out: Path) -> bool:
    try:
        resumed_config(out)
    except CheckpointError:
        return False
    return True


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", required=True)
    parser.add_argument("--masks", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    args = parser.parse_args()
    words = ["--images", args.images, "--masks", args.masks]
    for change in ("training.mask_vae.max_seconds=8", *args.overrides):
        words += ["--set", change]
    rng = random.Random(args.seed)
    print("| phase | obeyed: median, longest s | ended: longest s | can be resumed |")
    print("| --- | --- | --- | --- |")
    for phase in PHASES:
        times, resumed = [], 0
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "model"
                times.append(stop_in(phase, words, out, rng.uniform(0, LONGEST_DELAY)))
                resumed += _resumes(out)
        obeyed, ended = zip(*times, strict=True)
        figures = f"{statistics.median(obeyed):.2f}, {max(obeyed):.2f} | {max(ended):.2f}"
        print(f"| {phase} | {figures} | {resumed} of {args.rounds} |", flush=True)


if __name__ == "__main__":
    main()
