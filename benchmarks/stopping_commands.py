"""Response of the commands to Ctrl+C, from their start to their end.

    python -m benchmarks.stopping_commands --images IMAGES --masks MASKS --rounds 8

Each round starts a command and sends SIGINT after a random time, so that it hits the start of
Python, the loading of PyTorch and of the model, the reading of images, and sampling. Measures the
processor time and the wall time from the signal to the end of the process; on a busy machine the
former is what counts. Prints one line for each command.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latentfm_core.model_io.bundled import resolve_model

TICKS = os.sysconf("SC_CLK_TCK")
LARGE_SIDE = 14_000
"""Side of the image for large files: 187 megapixels."""


@dataclass(frozen=True)
class Stop:
    """Seconds from the signal to the end, the delay before it, and the last line of output."""

    cpu: float
    wall: float
    delay: float
    code: int
    last: str


def stop(words: list[str], delay: float) -> Stop | None:
    """Run a command and stop it after `delay` seconds; None if it ended before."""
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], stdout=printed, stderr=printed, stdin=subprocess.DEVNULL
        )
        time.sleep(delay)
        if process.poll() is not None:
            return None
        before, begin = _cpu(process.pid), time.monotonic()
        process.send_signal(signal.SIGINT)
        cpu = before
        while process.poll() is None:
            cpu = _cpu(process.pid) or cpu
            time.sleep(0.01)
        wall = time.monotonic() - begin
        printed.seek(0)
        lines = printed.read().strip().splitlines()
    return Stop(cpu - before, wall, delay, process.returncode, lines[-1] if lines else "")


def _cpu(process: int) -> float:
    """Return the processor time of a process in seconds; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def commands(images: Path, masks: Path, scratch: Path) -> dict[str, list[str]]:
    """Return the commands by name; results go below `scratch`."""
    large = scratch / "large.png"
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    tiles = LARGE_SIDE // 1000
    Image.fromarray(np.tile(noise, (tiles, tiles, 1))).save(large, compress_level=1)
    shutil.copytree(resolve_model("isic2018"), model := scratch / "model")  # its card is written
    core = "latentfm_core.cli."
    data = ["--images", str(images), "--masks", str(masks)]
    parts = [*data, "--part", "all", "--model", str(model)]
    return {
        "latentfm-train": [f"{core}train", *data, "--out", str(scratch / "run")],
        "latentfm-predict": [f"{core}predict", str(images), "--out", str(scratch / "results")],
        "latentfm-predict, an image of 187 megapixels": [
            *(f"{core}predict", str(large), "--out", str(scratch / "large"))
        ],
        "latentfm-predict --tiled, the same image": [
            *(f"{core}predict", str(large), "--tiled", "--out", str(scratch / "tiled"))
        ],
        "latentfm-evaluate": [f"{core}evaluate", *parts, "--out", str(scratch / "evaluation")],
        "latentfm-calibrate": [f"{core}calibrate", *parts, "--allow-few"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--masks", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=15.0, help="seconds before the signal")
    parser.add_argument("--only", help="part of the name of a command")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        print("| command | stopped | processor time: longest s | wall time: longest s | when |")
        print("| --- | --: | --: | --: | --- |")
        for name, words in commands(args.images, args.masks, Path(folder)).items():
            if args.only and args.only not in name:
                continue
            delays = [rng.uniform(0, args.longest) for _ in range(args.rounds)]
            stops = [each for each in (stop(words, delay) for delay in delays) if each is not None]
            if not stops:
                print(f"| {name} | 0 | | | ended before every signal |", flush=True)
                continue
            worst = max(stops, key=lambda each: each.cpu)
            print(
                f"| {name} | {len(stops)} | {worst.cpu:.2f} | {max(s.wall for s in stops):.2f} | "
                f"after {worst.delay:.1f} s, code {worst.code}: {worst.last[:90]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
