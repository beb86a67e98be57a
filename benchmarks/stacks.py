r"""Coherence of a sample from plane to plane, with shared and with independent seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.stacks ../shared/data/cvc_clinicdb \
        --split configs/splits/cvc_clinicdb_sequence.json

The stacks are the video sequences of CVC-ClinicDB that the model was not trained on; what is
measured are pairs of neighbouring frames. ``IoU`` is that of sample n of one frame with sample n of
the next, its mean over n. ``matched`` pairs the samples of the two frames as well as can be
(Hungarian method on IoU). ``size`` is the correlation, over n, of the areas in one frame with those
in the next: 0 if they are unrelated. The frames of a sequence are
often far apart, and samples cannot be coherent where the polyp itself moved; a row for each
``--overlap`` therefore takes only pairs whose expert masks have at least that IoU. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.binary import binary
from latentfm_core.config import SamplingConfig
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.metrics.overlap import iou, pairwise_iou

Bool = NDArray[np.bool_]
COLUMNS = (
    "IoU expert",
    "IoU mean mask",
    "IoU shared",
    "IoU independent",
    "IoU independent, matched",
    "size shared",
    "size independent",
)
INDEPENDENT = 1000
"""Distance of the base seeds of two frames, more than there are samples."""


def sequences(folder: Path) -> dict[str, list[str]]:
    """Return the frames of each sequence, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    with (folder / "sequences.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["sequence"]].append(row["image"])
    return {name: sorted(frames) for name, frames in found.items()}


def file_of(folder: Path, stem: str) -> Path:
    """Return the file of a frame with any extension."""
    return next(path for path in folder.iterdir() if path.stem == stem)


def overlap(first: Bool, second: Bool) -> float:
    """Return the mean IoU of sample n of ``(N, H, W)`` masks with sample n of others."""
    return float(np.mean([iou(a, b) for a, b in zip(first, second, strict=True)]))


def matched(first: Bool, second: Bool) -> float:
    """Return `overlap` after the best pairing of the samples."""
    table = pairwise_iou(first, second)
    return float(table[linear_sum_assignment(table, maximize=True)].mean())


def size_correlation(first: Bool, second: Bool) -> float:
    """Return Pearson's correlation of the areas; NaN if all are equal."""
    areas = [masks.sum(axis=(1, 2), dtype=float) for masks in (first, second)]
    if min(area.std() for area in areas) == 0:
        return float("nan")
    return float(np.corrcoef(*areas)[0, 1])


def measure(
    segmenter: Segmenter, folder: Path, frames: list[str], samples: int
) -> list[list[float]]:
    """Return the figures of each pair of neighbours, in the order of `COLUMNS`."""
    images = [read_image(file_of(folder / "images", stem)) for stem in frames]
    expert = [read_mask(file_of(folder / "masks", stem)) for stem in frames]
    settings = SamplingConfig(n_samples=samples, seed=0)
    stack = segment_stack(segmenter, images, settings)
    shared = [stack.summary_of(place) for place in range(len(stack))]
    apart = []
    for place, image in enumerate(images):
        own = settings.model_copy(update={"seed": INDEPENDENT * (place + 1)})
        apart.append(binary(segmenter.summarise(segmenter.sample(image, own)).sample_masks))
    means = [binary(each.mean_mask) for each in shared]
    together = [binary(each.sample_masks) for each in shared]
    return [
        [
            iou(expert[a], expert[b]),
            iou(means[a], means[b]),
            overlap(together[a], together[b]),
            overlap(apart[a], apart[b]),
            matched(apart[a], apart[b]),
            size_correlation(together[a], together[b]),
            size_correlation(apart[a], apart[b]),
        ]
        for a, b in pairwise(range(len(frames)))
    ]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of CVC-ClinicDB, with sequences.csv")
    parser.add_argument("--model", default="cvc_clinicdb")
    parser.add_argument("--split", type=Path, required=True, help="the model's split file")
    parser.add_argument("--parts", nargs="+", default=["val", "test"])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--overlap", type=float, nargs="+", default=[0.0, 0.5, 0.7])
    args = parser.parse_args()
    segmenter = Segmenter.load(args.model)
    parts = json.loads(args.split.read_text())
    unseen = {stem for part in args.parts for stem in parts[part]}
    rows: list[list[float]] = []
    for frames in sequences(args.data).values():
        chosen = [stem for stem in frames if stem in unseen]
        if len(chosen) > 1:
            rows += measure(segmenter, args.data, chosen, args.samples)
    table = np.array(rows)
    print(_row(["pairs", "number", *COLUMNS]))
    print(_row(["---"] * (2 + len(COLUMNS))))
    for least in args.overlap:
        part = table[table[:, 0] >= least]
        figures = (f"{x:.3f}" for x in np.nanmean(part, axis=0))
        print(_row([f"expert IoU at least {least:g}", len(part), *figures]))


if __name__ == "__main__":
    main()
