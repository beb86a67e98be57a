"""Compare a killed and resumed training with an undisturbed one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from latentfm_core.cli.train import main
from latentfm_core.datasets.splits import read_split
from latentfm_core.model_io.folder import load_model, read_card
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.checkpoint import FILE, read_checkpoint
from latentfm_core.training.resuming import resumed_config
from robustness.crash.fixtures import write_images, write_settings
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim

TIMES = ("seconds", "images_per_second", "outside_network")
IMAGES = 12


def prepare_run(folder: Path) -> None:
    """Write images and settings of a run of seconds."""
    write_images(folder, IMAGES)
    write_settings(folder)


def _work(folder: Path, reached: Progress) -> int:
    out = folder / "out"
    words = ["--config", str(folder / "config.toml")]
    if (out / "training" / FILE).is_file():
        words = ["--resume"]
    return main(["--out", str(out), *words])


def _look(folder: Path, reached: int) -> list[str]:
    return look_at_run(folder / "out")


def look_at_run(out: Path) -> list[str]:
    """Read every file with a final name, as the next run and users do."""
    training, found = out / "training", []
    readers = {
        training / FILE: lambda path: _check_checkpoint(training),
        training / "best.safetensors": _check_best,
        training / "log.csv": _rows,
        training / "report.html": _check_report,
        training / "config.json": lambda path: json.loads(path.read_text()),
        training / "split.json": read_split,
        out / "model.json": lambda path: load_model(out),
        **dict.fromkeys((training / "samples").glob("epoch_*.png"), _check_picture),
    }
    for path, read in readers.items():
        if path.exists():
            try:
                read(path)
            except Exception as error:
                found.append(f"{path.name} cannot be read: {error!r}")
    return found


def _check_checkpoint(folder: Path) -> None:
    found = read_checkpoint(folder)
    found.restore_model(LatentFM(resumed_config(folder.parent).model))


def _check_best(path: Path) -> None:
    LatentFM(resumed_config(path.parent.parent).model).load_state_dict(load_file(path))


def _check_report(path: Path) -> None:
    if not path.read_text(encoding="utf-8").endswith("</html>\n"):
        raise ValueError("its end is missing")


def _check_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the log without times."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"the row {row} is incomplete")
    timeless = [name for name in rows[0] if name not in TIMES and not name.endswith("_share")]
    return [{name: row[name] for name in timeless} for row in rows]


def _compare(folder: Path, whole: Path) -> list[str]:
    return compare_runs(folder / "out", whole / "out")


def compare_runs(run: Path, other: Path) -> list[str]:
    """Compare the weights bit by bit, the log without times, and the metrics of the card."""
    found = []
    for name in ("model.safetensors", "training/best.safetensors"):
        ours, theirs = (load_file(each / name) for each in (run, other))
        if ours.keys() != theirs.keys():
            found.append(f"{name} has other tensors")
            continue
        differ = [key for key in ours if not torch.equal(ours[key], theirs[key])]
        if differ:
            found.append(f"{name}: {len(differ)} of {len(ours)} tensors differ ({differ[0]})")
    logs = [_rows(each / "training" / "log.csv") for each in (run, other)]
    if logs[0] != logs[1]:
        found.append(f"the logs differ: {logs[0]} {logs[1]}")
    cards = [read_card(each) for each in (run, other)]
    if cards[0].metrics != cards[1].metrics:
        found.append(f"the cards differ: {cards[0].metrics} {cards[1].metrics}")
    return found


TRAIN = Victim(prepare_run, _work, _look, _compare, most=8, share=5)
