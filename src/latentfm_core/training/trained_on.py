"""Images that a model and its parents were trained on, for evaluation and calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.datasets.splits import MAX_BYTES, Split
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.training.run_folder import TRAINING

FILE = "trained_on.json"
"""Names of images in the training part of earlier splits."""

IMAGES = "images.json"
"""Signature of each image that a run was trained on, by name."""

PARENT_IMAGES = "parent_images.json"
"""Name of each image that the models a run started from were trained on, by signature."""

CONFIG = "config.json"
"""Settings of a run, in its folder ``training``."""


def write_trained_on(folder: Path, names: Sequence[str]) -> None:
    """Save the images of earlier training parts in a run's folder; without any, remove the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write_if_any(folder / FILE, list(names))


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
    known = read_signatures(folder) if earlier else {}
    kept = {name: known[name] for name in earlier if name in known}
    write_text(folder / IMAGES, json.dumps(kept | signatures_of(data), indent=1) + "\n")


def signatures_of(data: CanvasSet | ObjectSet) -> dict[str, str]:
    """Return the signature of each image of a part, by name."""
    if isinstance(data, CanvasSet):
        return {pair.name: pair.signature for pair in data.stored}
    return {image.name: image.stored.signature for image in data.images if image.stored}


def read_signatures(folder: Path) -> dict[str, str]:
    """Return the signature of each image that the run in `folder` was trained on, if known."""
    return _read(folder / IMAGES)


def write_parent_images(folder: Path, images: Mapping[str, str]) -> None:
    """Save the names of the images of `images_of_parent`; without any, remove an older file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    _write_if_any(folder / PARENT_IMAGES, dict(images))


def read_parent_images(folder: Path) -> dict[str, str]:
    """Return what `write_parent_images` saved in the folder of a run."""
    return _read(folder / PARENT_IMAGES)


def images_of_parent(model: Path) -> dict[str, str]:
    """Return the name of each image that a model or its own parents were trained on.

    The keys are signatures. Empty if the model folder has no record of a training run.
    """
    folder = model / TRAINING
    own = {signature: name for name, signature in read_signatures(folder).items()}
    return read_parent_images(folder) | own


def _read(file: Path) -> dict[str, str]:
    try:
        found = parse_json(read_bounded(file, MAX_BYTES))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in entries if isinstance(value, str) and value}


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


def _write_if_any(path: Path, values: list[str] | dict[str, str]) -> None:
    """Write values as JSON; without any, remove a file of an earlier run."""
    if values:
        write_text(path, json.dumps(values, indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)
