"""Split of the breast ultrasound set, fixed by `SEED`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latentfm_core.errors import DatasetError
from latentfm_core.files.atomic import write_text

SEED = 2018
SPLIT_FILE = Path("configs/splits/busi_learning.json")
COUNTS = {"train": 20, "test": 200, "tuning_train": 20, "tuning_val": 60}


@dataclass(frozen=True)
class Parts:
    """Names of images; no name is in two parts, and most images are in none.

    Attributes
    ----------
    train
        The corrected images, in random order: the first n stand for n corrections.
    test
        Measured at the end; not used for any choice.
    tuning_train, tuning_val
        Used to choose the recipe.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    tuning_train: tuple[str, ...]
    tuning_val: tuple[str, ...]


def draw_parts(names: list[str]) -> Parts:
    """Draw the parts at random; the result does not depend on the order of `names`.

    Raises
    ------
    DatasetError
        If there are too few images.
    """
    ordered = sorted(names)
    needed = sum(COUNTS.values())
    if len(ordered) < needed:
        raise DatasetError(f"{len(ordered)} images are too few: {needed} are needed.")
    shuffled = [ordered[i] for i in np.random.default_rng(SEED).permutation(len(ordered))]
    drawn: dict[str, tuple[str, ...]] = {}
    for part, count in COUNTS.items():
        drawn[part], shuffled = tuple(shuffled[:count]), shuffled[count:]
    return Parts(**drawn)


def write_parts(path: Path, parts: Parts) -> None:
    """Write the split file atomically."""
    write_text(path, json.dumps(asdict(parts), indent=1) + "\n")


def read_parts(path: Path = SPLIT_FILE) -> Parts:
    """Read the split file.

    Raises
    ------
    DatasetError
        If it is unreadable or malformed, or a name is in two parts.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        parts = Parts(**{part: tuple(content[part]) for part in COUNTS})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"Cannot read the split file {path} ({error!r}). Start the benchmark from the "
            "project's root, or make the file with `python -m benchmarks.learning split`."
        ) from None
    listed = [name for part in COUNTS for name in getattr(parts, part)]
    if len(set(listed)) != len(listed):
        raise DatasetError(f"The split file {path} has a name in two parts; draw it again.")
    return parts
