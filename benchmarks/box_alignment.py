"""Dice after a box, with and without the alignment of samples with it.

    python -m benchmarks.box_alignment --data ../shared/data --part val --limit 80

The box is the bounding box of the largest object (`exact`), has edges that are off by a normal
deviate of 1.5 or 3 % of its sides (`off 0.015`, `off 0.03`), or surrounds the object loosely, with
a gap of 0 to 20 % at each edge (`loose`). All answers of an image come from the same seed. Prints
the mean Dice without alignment, the gain by it and its standard error over the images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.prompts.cases import PromptCase, read_cases, select
from benchmarks.prompts.datasets import DATASETS, Dataset
from benchmarks.prompts.settings import DataSettings
from latentfm_core.cli.common import print_line, run_cli
from latentfm_core.config import PromptConfig
from latentfm_core.inference.box_alignment import OUTWARD
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent

Edges = NDArray[np.float64]

KINDS = ("exact", "off 0.015", "off 0.03", "loose")
LOOSEST = 0.2
SETS = ("isic2018", "polypgen", "fuseg_wound", "lidc_idri", "dsb2018_nuclei")
SPLITS = Path(__file__).resolve().parent.parent / "configs" / "splits"


def drawn_box(exact: Edges, kind: str, rng: np.random.Generator) -> Edges:
    """Return a box as a person might draw it."""
    sides = np.tile(exact[2:] - exact[:2], 2)
    if kind == "exact":
        return exact
    if kind == "loose":
        return exact + OUTWARD * rng.uniform(0, LOOSEST, 4) * sides
    return exact + rng.normal(0, float(kind.split()[1]), 4) * sides


def answer(segmenter: Segmenter, case: PromptCase, box: Edges, share: float) -> float:
    """Return the Dice of the mean mask with the object."""
    top, left, bottom, right = box.tolist()
    samples = segmenter.sample(
        case.image,
        prompt=Prompt(box=(top, left, bottom, right)),
        prompting=PromptConfig(box_alignment=share),
    )
    return dice(segmenter.summarise(samples).mean_mask > 0, case.target)


def measured(
    segmenter: Segmenter, cases: Iterator[PromptCase], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return ``(images, 2)`` Dice of each kind of box: as drawn, and aligned."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for case in cases:
        exact = np.array(extent(case.target))
        for kind, found in rows.items():
            box = drawn_box(exact, kind, rng)
            shares = (0.0, PromptConfig().box_alignment)
            plain, aligned = (answer(segmenter, case, box, share) for share in shares)
            found.append((plain, aligned))
    return {kind: np.array(found) for kind, found in rows.items()}


def settings_of(name: str, found: Dataset, args: argparse.Namespace) -> DataSettings:
    """Return where the images of a data set are."""
    folder = args.data / found.folder
    return DataSettings(
        name=name,
        images=folder / "images",
        masks=folder / "masks",
        split=SPLITS / found.split if found.split else None,
        part=args.part,
        kind=found.kind,
        limit=args.limit,
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    out = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    out.add_argument("--data", type=Path, default=Path("../shared/data"))
    out.add_argument("--datasets", nargs="+", choices=sorted(DATASETS), default=list(SETS))
    out.add_argument("--part", choices=("val", "test"), default="val")
    out.add_argument("--model", default="generalist")
    out.add_argument("--limit", type=int, help="maximum number of images of each data set")
    out.add_argument("--seed", type=int, default=0, help="of the errors of the boxes")
    return out


def run(args: argparse.Namespace) -> None:
    """Print a row for each data set and kind of box."""
    segmenter = Segmenter.load(args.model)
    print_line(
        "| images | box | Dice as drawn | gain (standard error) |\n| --- | --- | --- | --- |"
    )
    for name in args.datasets:
        chosen = settings_of(name, DATASETS[name], args)
        found = measured(segmenter, read_cases(select(chosen), chosen), args.seed)
        for kind, values in found.items():
            gain = values[:, 1] - values[:, 0]
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            print_line(
                f"| {name} ({len(gain)}) | {kind} | {values[:, 0].mean():.4f} | "
                f"{gain.mean():+.4f} ({error:.4f}) |"
            )


def main() -> int:
    """Run the benchmark."""
    return run_cli(run, parser(), package="benchmarks")


if __name__ == "__main__":
    sys.exit(main())
