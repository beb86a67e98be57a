"""Images per second of each training stage, alternating this version and an older one.

Each measurement is a short run of ``latentfm-train`` in a separate process, whose log has the
rate; the best epoch counts, because other load can only slow it down.

    python benchmarks/training_speed.py --baseline ../older/src
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from latentfm_core.datasets.pairs import find_pairs

NEW = Path(__file__).parent.parent / "src"
DATA = Path("../shared/data/isic2018")

NOTHING_HELD_OUT = ("data.val_fraction=0", "data.test_fraction=0")
OTHERS_OFF = {
    stage: tuple(
        f"training.{other}.epochs=0"
        for other in ("image_vae", "mask_vae", "flow")
        if other != stage
    )
    for stage in ("image_vae", "mask_vae", "flow")
}


@dataclass(frozen=True)
class Case:
    """One measurement: a stage, its name in the table, and settings."""

    name: str
    stage: str
    settings: tuple[str, ...]
    preset: str = "default"


CASES = (
    Case("image VAE, 128", "image_vae", ("training.image_vae.epochs=3",)),
    Case("mask VAE, 256", "mask_vae", ("training.mask_vae.epochs=3",)),
    Case(
        "flow, 128 of 256",
        "flow",
        ("training.flow.epochs=3", "training.flow.small_epochs=3", "training.flow.noise_draws=2"),
    ),
    Case("flow, 256", "flow", ("training.flow.epochs=2", "training.flow.noise_draws=2")),
    Case(
        "paper, flow, 128, no augmentation",
        "flow",
        ("training.flow.epochs=3", "data.size=128", "training.augmentation=none"),
        "paper",
    ),
)


def link_data(source: Path, count: int, target: Path) -> None:
    """Make a data set of the first `count` pairs of another, by links."""
    for kind in ("images", "masks"):
        (target / kind).mkdir()
    for pair in find_pairs(source / "images", source / "masks")[:count]:
        (target / "images" / pair.image.name).symlink_to(pair.image.resolve())
        (target / "masks" / pair.masks[0].name).symlink_to(pair.masks[0].resolve())


def measure(case: Case, source: Path, data: Path, out: Path) -> dict[str, float]:
    """Train with the package in `source`; return the figures of the fastest epoch."""
    settings = (*NOTHING_HELD_OUT, *OTHERS_OFF[case.stage], *case.settings)
    words = [sys.executable, "-m", "latentfm_core.cli.train", "--quiet", "--out", str(out)]
    words += ["--images", str(data / "images"), "--masks", str(data / "masks")]
    words += ["--preset", case.preset, "--device", "cpu"]
    words += [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
    subprocess.run(words, env=environment, check=True, stderr=subprocess.DEVNULL)
    with (out / "training" / "log.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["stage"] == case.stage]
    best = max(rows, key=lambda row: float(row["images_per_second"]))
    outside = best.get("outside_network")
    return {
        "rate": float(best["images_per_second"]),
        "outside": float(outside) if outside else float("nan"),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with images and masks")
    parser.add_argument("--baseline", type=Path, help="src folder of an older version")
    parser.add_argument("--images", type=int, default=64, help="number of training images")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each version, in turn")
    args = parser.parse_args()
    sources = {"new": NEW} | ({"old": args.baseline} if args.baseline else {})
    print("| stage | old, images/s | new, images/s | outside the network, new |\n|" + " --- |" * 4)
    with tempfile.TemporaryDirectory() as folder:
        link_data(args.data, args.images, Path(folder))
        for number, case in enumerate(CASES):
            best: dict[str, dict[str, float]] = {}
            for repeat in range(args.repeats):
                for version, source in sources.items():
                    out = Path(folder) / f"{number}-{repeat}-{version}"
                    found = measure(case, source, Path(folder), out)
                    best[version] = max(
                        (found, best.get(version, found)), key=lambda item: item["rate"]
                    )
            old = f"{best['old']['rate']:.1f}" if "old" in best else "-"
            new = best["new"]
            print(f"| {case.name} | {old} | {new['rate']:.1f} | {new['outside']:.1%} |", flush=True)


if __name__ == "__main__":
    main()
