"""Names of the images a model was trained on, for evaluation and calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.datasets.splits import MAX_BYTES, Split
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import parse_json, read_bounded

FILE = "trained_on.json"
"""Names of images in the training part of earlier splits."""

IMAGES = "images.json"
"""Signature of each image that a run was trained on, by name."""

CONFIG = "config.json"
"""Settings of a run, in its folder ``training``."""


def write_trained_on(folder: Path, names: Sequence[str]) -> None:
    """Save the images of earlier training parts in the folder of a run, if any.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if names:
        write_text(folder / FILE, json.dumps(list(names), indent=1) + "\n")


def trained_on(split: Split, folder: Path) -> set[str]:
    """Return all images that the run in `folder` with `split` was trained on."""
    try:
        earlier = parse_json(read_bounded(folder / FILE, MAX_BYTES))
    except (OSError, ValueError):
        earlier = []
    listed = earlier if isinstance(earlier, list) else []
    return {*split.train, *(name for name in listed if isinstance(name, str))}


def write_signatures(folder: Path, data: CanvasSet | ObjectSet, earlier: Sequence[str]) -> None:
    """Save the signatures of training images, keeping those of `earlier` training parts.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if isinstance(data, CanvasSet):
        stored = {pair.name: pair.signature for pair in data.stored}
    else:
        stored = {image.name: image.stored.signature for image in data.images if image.stored}
    known = read_signatures(folder) if earlier else {}
    kept = {name: known[name] for name in earlier if name in known}
    write_text(folder / IMAGES, json.dumps(kept | stored, indent=1) + "\n")


def read_signatures(folder: Path) -> dict[str, str]:
    """Return the signature of each image that the run in `folder` was trained on, if known."""
    try:
        found = parse_json(read_bounded(folder / IMAGES, MAX_BYTES))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in entries if isinstance(value, str) and value}


def sets_of_run(folder: Path) -> dict[str, tuple[str, str]]:
    """Return image folder and kind of masks of the data sets of the run in `folder`, by name.

    Empty if it had only one data set, or its settings cannot be read.
    """
    try:
        data = parse_json(read_bounded(folder / CONFIG, MAX_BYTES))["data"]
        sets = data["sets"]
        return {str(s["name"]): (str(s["images"]), str(s.get("kind", "masks"))) for s in sets}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
