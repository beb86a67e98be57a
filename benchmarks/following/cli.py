r"""An object followed through video sequences from a box on their first frame.

    OMP_NUM_THREADS=1 python -m benchmarks.following --data ../shared/data

The sequences are those of the test part of CVC-ClinicDB. Followed from a box on the first frame,
compared with a box on every frame and with no prompt; and with a user who draws another box
wherever the Dice is below 0.7. The first frame, which has a box in each, is left out.
Intervals are bootstrapped over sequences. ``close`` are frames whose expert mask overlaps with that
of the frame before by a Dice of at least 0.5. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.following.measure import Row, Video, measure
from benchmarks.prompts.bootstrap import interval
from benchmarks.stacks import file_of, sequences
from latentfm_core.config import SamplingConfig
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter

logger = logging.getLogger("benchmarks.following")
CLOSE = 0.5
HEADER = ("prompt", "boxes", "Dice", "Dice of close frames", "frames without a mask", "s per frame")


def read_video(folder: Path, frames: Sequence[str]) -> Video:
    """Read the frames of a sequence."""
    return Video(
        [read_image(file_of(folder / "images", stem)) for stem in frames],
        [read_mask(file_of(folder / "masks", stem)) > 0 for stem in frames],
    )


def table(rows: dict[str, dict[str, Row]], overlaps: dict[str, list[float]]) -> list[str]:
    """Return the lines of the table.

    Parameters
    ----------
    rows
        By kind of prompt and sequence.
    overlaps
        Dice of the expert masks of each frame and the one before, by sequence.
    """
    lines = [f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}"]
    for kind, by_sequence in rows.items():
        every = _figure(by_sequence, overlaps, lambda _overlap: True)
        close = _figure(by_sequence, overlaps, lambda overlap: overlap >= CLOSE)
        boxes = sum(row.boxes for row in by_sequence.values())
        missed = sum(row.missed for row in by_sequence.values())
        seconds = np.mean([row.seconds for row in by_sequence.values()])
        lines.append(f"| {kind} | {boxes} | {every} | {close} | {missed} | {seconds:.2f} |")
    return lines


def _figure(
    by_sequence: dict[str, Row],
    overlaps: dict[str, list[float]],
    chosen: Callable[[float], bool],
) -> str:
    values, groups = [], []
    for name, row in by_sequence.items():
        for value, overlap in zip(row.dice, overlaps[name], strict=True):
            if chosen(overlap):
                values.append(value)
                groups.append(name)
    ends = interval(values, groups)
    text = "" if ends is None else " [{:.3f}, {:.3f}]".format(*ends)
    return f"{np.mean(values):.3f}{text}"


def main() -> int:
    """Measure and print."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with cvc_clinicdb")
    parser.add_argument("--model", default="generalist")
    parser.add_argument(
        "--split", type=Path, default=Path("configs/splits/cvc_clinicdb_sequence.json")
    )
    parser.add_argument("--part", default="test", help="part of the split (default: test)")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--frames", type=int, default=100, help="at most, of each sequence")
    args = parser.parse_args()
    folder = args.data / "cvc_clinicdb"
    part = set(json.loads(args.split.read_text("utf-8"))[args.part])
    segmenter = Segmenter.load(args.model)
    settings = SamplingConfig(n_samples=args.samples, seed=0)
    rows: dict[str, dict[str, Row]] = {}
    overlaps: dict[str, list[float]] = {}
    for name, frames in sequences(folder).items():
        chosen = [stem for stem in frames if stem in part][: args.frames]
        if len(chosen) < 2:
            continue
        video = read_video(folder, chosen)
        overlaps[name] = video.overlap()
        for kind, row in measure(segmenter, video, settings).items():
            rows.setdefault(kind, {})[name] = row
            logger.info(
                "sequence %s, %d frames, %s: Dice %.3f, %d boxes",
                name,
                len(chosen),
                kind,
                np.mean(row.dice),
                row.boxes,
            )
    logger.info("\n%s", "\n".join(table(rows, overlaps)))
    return 0
