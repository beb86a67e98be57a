r"""Copy one part of several data sets into one folder, to calibrate a model for all of them.

    python scripts/collect_part.py --config configs/generalist.toml --part val --most 12 \
        --leave-out chase_vessels --out runs/val

Sets of numbered objects are left out: without a prompt, no object is preferred as the
target. Of several raters the first who drew something counts. The column ``group`` of
``groups.csv`` is the set, or, with ``--groups SET=FILE:COLUMN``, the set and a group in it::

    python scripts/collect_part.py --config configs/polyp.toml --part val --most 60 \
        --groups cvc_clinicdb=../shared/data/cvc_clinicdb/sequences.csv:sequence \
        polypgen=../shared/data/polypgen/groups.csv:near_cluster --out runs/val_polyp
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from skimage.io import imsave

from latentfm_core.config import load_config
from latentfm_core.datasets.object_set import find_sets, load_sets, with_split
from latentfm_core.datasets.splits import Split
from latentfm_core.training.validate_prompts import spread


def read_groups(word: str) -> tuple[str, dict[str, str]]:
    """Return the set and the group of each of its images from ``SET=FILE:COLUMN``."""
    name, _, place = word.partition("=")
    file, _, column = place.rpartition(":")
    with Path(file).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The first column holds the image, with or without its ending.
    first = next(iter(rows[0]))
    return name, {Path(row[first]).stem: row[column] for row in rows}


def collect(
    config: Path,
    part: str,
    most: int,
    out: Path,
    leave_out: set[str],
    groups: dict[str, dict[str, str]],
) -> int:
    """Write images, masks and ``groups.csv``; return the number of images."""
    data = load_config(config).data
    rows = ["image,set,group"]
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for one in find_sets(data):
        if one.settings.kind == "instances" or one.settings.name in leave_out:
            continue
        names = getattr(one.split, part)
        chosen = tuple(names[i] for i in spread(len(names), most))
        [narrow] = with_split(
            [one], Split(tuple(f"{one.settings.name}__{name}" for name in chosen))
        )
        for image in load_sets([narrow], "train", data).images:
            drawn = [mask for mask in image.masks if mask.any()]
            if not drawn:
                continue
            mask = (drawn[0] > 0).astype(np.uint8) * 255
            imsave(out / "images" / f"{image.name}.png", image.rgb, check_contrast=False)
            imsave(out / "masks" / f"{image.name}.png", mask, check_contrast=False)
            source = one.settings.name
            within = groups.get(source, {}).get(image.name.removeprefix(f"{source}__"), "")
            rows.append(f"{image.name},{source},{source}_{within}".rstrip("_"))
    (out / "groups.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return len(rows) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--part", choices=("train", "val", "test"), default="val")
    parser.add_argument("--most", type=int, default=12, help="images of each set")
    parser.add_argument("--leave-out", nargs="*", default=[], help="names of sets")
    parser.add_argument("--groups", nargs="*", default=[], metavar="SET=FILE:COLUMN")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    groups = dict(read_groups(word) for word in args.groups)
    count = collect(args.config, args.part, args.most, args.out, set(args.leave_out), groups)
    print(f"{count} images in {args.out}")


if __name__ == "__main__":
    main()
