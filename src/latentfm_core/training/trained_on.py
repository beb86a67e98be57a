"""Names of the images a model was trained on, for evaluation and calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latentfm_core.datasets.splits import MAX_BYTES, Split
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import parse_json, read_bounded

FILE = "trained_on.json"
"""Names of images in the training part of earlier splits."""


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
