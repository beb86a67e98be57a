"""Dice after one to five strokes of a simulated user who corrects the largest error."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.binary import binary
from benchmarks.correction.simulate import next_stroke, painted
from latentfm_core.config import CorrectionConfig, sampling_settings
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import read_split
from latentfm_core.files.atomic import write_text
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice

logger = logging.getLogger("benchmarks.correction")


@dataclass(frozen=True)
class Course:
    """One image: Dice before and after each stroke.

    Attributes
    ----------
    corrected
        Of the mean mask of samples that follow the strokes.
    by_hand
        Of the first mean mask with the same strokes painted into it.
    seconds
        Of each correction, from pixels to maps.
    """

    corrected: list[float]
    by_hand: list[float]
    seconds: list[float]


def course(
    segmenter: Segmenter,
    pair: Pair,
    strokes: int,
    samples: int,
    correction: CorrectionConfig | None,
) -> Course:
    """Correct one image stroke by stroke; after the last error nothing changes."""
    image, expert = read_image(pair.image), read_mask(pair.masks[0])
    settings = sampling_settings(segmenter.card.config.sampling, n_samples=samples)
    first = binary(segmenter.summarise(segmenter.sample(image, settings)).mean_mask)
    mean = first
    said = np.zeros(expert.shape, np.uint8)
    found = Course([dice(first, expert)], [dice(first, expert)], [])
    for _ in range(strokes):
        more = next_stroke(mean, expert, said)
        if more is not None:
            said = more
            start = time.perf_counter()
            drawn = segmenter.sample(image, settings, strokes=said, correction=correction)
            mean = binary(segmenter.summarise(drawn).mean_mask)
            found.seconds.append(time.perf_counter() - start)
        found.corrected.append(dice(mean, expert))
        found.by_hand.append(dice(painted(first, said), expert))
    return found


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.correction", description=__doc__)
    parser.add_argument("--model", default="isic2018", help="bundled model or model folder")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--part", choices=("val", "test"), default="test")
    parser.add_argument("--limit", type=int, help="this many images, drawn with seed 0")
    parser.add_argument("--strokes", type=int, default=5)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--steps", type=int, default=CorrectionConfig().steps)
    parser.add_argument("--scale", type=float, default=CorrectionConfig().scale)
    parser.add_argument(
        "--guided", action="store_true", help="guide the samples of a model with prompts as well"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its result."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pairs = {pair.name: pair for pair in find_pairs(args.images, args.masks)}
    names = getattr(read_split(args.split), args.part)
    if args.limit is not None and args.limit < len(names):
        order = np.random.default_rng(0).permutation(len(names))[: args.limit]
        names = [names[place] for place in sorted(order)]
    segmenter = Segmenter.load(args.model)
    guided = args.guided or not segmenter.card.config.model.prompts
    correction = CorrectionConfig(steps=args.steps, scale=args.scale) if guided else None
    courses = [
        course(segmenter, pairs[name], args.strokes, args.samples, correction)
        for name in tqdm(names, unit="image", mininterval=5)
    ]
    seconds = [s for one in courses for s in one.seconds]
    result = {
        "command": "python -m benchmarks.correction " + " ".join(argv or sys.argv[1:]),
        "model_sha256": segmenter.card.weights_sha256,
        "device": segmenter.device_label,
        "images": len(names),
        "samples": args.samples,
        "guided": guided,
        "steps": args.steps if guided else None,
        "scale": args.scale if guided else None,
        "corrected": np.mean([one.corrected for one in courses], axis=0).tolist(),
        "by_hand": np.mean([one.by_hand for one in courses], axis=0).tolist(),
        "seconds_median": float(np.median(seconds)) if seconds else None,
    }
    write_text(args.out, json.dumps(result, indent=2) + "\n")
    for kind in ("corrected", "by_hand"):
        logger.info("%s: %s", kind, " ".join(f"{value:.4f}" for value in result[kind]))
    logger.info("median %.2f s for each correction", result["seconds_median"] or 0.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
