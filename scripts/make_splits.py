"""Draw the committed splits of the data sets that ``configs/generalist.toml`` trains on.

    python scripts/make_splits.py --data ../shared/data --out configs/splits

A split is drawn once and then fixed by its file. Images of one group (centre, patient,
examination, child, cluster of near-duplicates, kind of image) go to one part.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from latentfm_core.config import DataConfig
from latentfm_core.datasets.splits import Split, make_split, write_split
from latentfm_core.images.read import list_images

SEED = 2018
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def by_group(names: Iterable[str], groups: dict[str, str]) -> Split:
    """Split 80/10/10 by group."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "groups.csv"
        lines = [f"{name},{groups[name]}" for name in names]
        table.write_text("image,group\n" + "\n".join(lines) + "\n", encoding="utf-8")
        config = DataConfig(group_file=table, group_column="group", split_seed=SEED)
        return make_split(names, config)


def polypgen(rows: list[Row]) -> Split:
    """Hold out whole centres, and drop training frames that repeat one of them."""
    held_out = {"C5": "test", "endocv2021_pos": "val"}
    part = {r["file"]: held_out.get(r["centre_or_name_family"], "train") for r in rows}
    clusters = {r["near_cluster"] for r in rows if part[r["file"]] != "train"}
    names = {
        kind: sorted(
            r["file"]
            for r in rows
            if part[r["file"]] == kind and (kind != "train" or r["near_cluster"] not in clusters)
        )
        for kind in ("train", "val", "test")
    }
    return Split(tuple(names["train"]), tuple(names["val"]), tuple(names["test"]))


def fuseg_wound(rows: list[Row]) -> Split:
    """Use the challenge's validation part as test part; clusters stay together."""
    test = {r["file"] for r in rows if r["official_split"] == "validation"}
    clusters = {r["near_cluster"] for r in rows if r["file"] in test}
    rest = [r for r in rows if r["file"] not in test and r["near_cluster"] not in clusters]
    split = by_group(
        [r["file"] for r in rest], {r["file"]: r["near_cluster"] or r["file"] for r in rest}
    )
    train = tuple(sorted((*split.train, *split.test)))
    return Split(train, split.val, tuple(sorted(test)))


def grouped(column: Callable[[Row], str]) -> Callable[[list[Row]], Split]:
    """Return a rule that splits by the value of `column` for a row."""

    def split(rows: list[Row]) -> Split:
        return by_group([r["file"] for r in rows], {r["file"]: column(r) for r in rows})

    return split


RULES: dict[str, Callable[[list[Row]], Split]] = {
    "polypgen": polypgen,
    "fuseg_wound": fuseg_wound,
    "hc18": grouped(lambda row: row["examination"]),
    "chase_vessels": grouped(lambda row: row["child"]),
    "dsb2018_nuclei": grouped(lambda row: f"{row['type']} {row['source_size']}"),
    # Wells are imaged independently; only the treatment groups them, and both are needed.
    "bbbc010_worms": grouped(lambda row: row["file"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name, rule in RULES.items():
        present = {path.stem for path in list_images(args.data / name / "images")}
        rows = [r for r in read_rows(args.data / name / "groups.csv") if r["file"] in present]
        write_split(args.out / f"{name}.json", rule(rows))


if __name__ == "__main__":
    main()
