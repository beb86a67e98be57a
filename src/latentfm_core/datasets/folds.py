"""Folds of a cross-validation: drawing them, and the file that records them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError

from latentfm_core.config import DataConfig, Settings
from latentfm_core.datasets.splits import MAX_BYTES, Split, make_split, units_of
from latentfm_core.errors import DatasetError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.names import counted, name_some, shown

FILE = "folds.json"
"""File in the folder of a cross-validation."""

FOLDER = "fold_{}"
"""Model folder of a fold."""


@dataclass(frozen=True)
class Folds:
    """Names of the images of each fold, sorted; no name is in two of them.

    Attributes
    ----------
    folds
        Images of each fold: the validation part of one model, training images of the others.
    test
        Images in no fold.
    init
        Model that the runs started from, empty without one.
    """

    folds: tuple[tuple[str, ...], ...]
    test: tuple[str, ...] = ()
    init: str = ""

    def split(self, fold: int) -> Split:
        """Return the parts of the model of a fold, counted from 0."""
        train = (name for k, names in enumerate(self.folds) if k != fold for name in names)
        return Split(tuple(sorted(train)), self.folds[fold], self.test)

    def fold_of(self) -> dict[str, int]:
        """Return the fold of each image, by name."""
        return {name: fold for fold, names in enumerate(self.folds) for name in names}


class _File(Settings):
    """Content of the file."""

    format_version: Literal[1] = 1
    folds: Annotated[tuple[tuple[str, ...], ...], Field(min_length=2, max_length=100)]
    test: tuple[str, ...] = ()
    init: str = ""


def training_split(names: Iterable[str], config: DataConfig) -> Split:
    """Return the split of a training run: that of ``config.fold`` if set, else `make_split`.

    Raises `DatasetError` as `make_split` and `make_folds` do.
    """
    if config.fold is None:
        return make_split(names, config)
    return make_folds(names, config).split(config.fold)


def make_folds(names: Iterable[str], config: DataConfig) -> Folds:
    """Draw ``config.folds`` folds of about equal size.

    The test part is that of `make_split`; the rest is divided. Groups, or single images, come in
    random order (``config.split_seed``), large groups first; each goes to the smallest fold so
    far. The result does not depend on the order of `names`.

    Raises `DatasetError` as `make_split` does; also if there are fewer groups or images than folds.
    """
    count = config.folds or 2
    split = make_split(names, config)
    units = units_of(sorted({*split.train, *split.val}), config)
    if len(units) < count:
        where = "outside the test part"
        few = counted(len(units), f"group or image {where} is", f"groups or images {where} are")
        raise DatasetError(f"{few} too few for {count} folds. Use fewer folds, or add data.")
    order = np.random.default_rng(config.split_seed).permutation(len(units))
    folds: list[list[str]] = [[] for _ in range(count)]
    for unit in sorted((units[index] for index in order), key=len, reverse=True):
        min(folds, key=len).extend(unit)
    return Folds(tuple(tuple(sorted(fold)) for fold in folds), split.test)


def write_folds(path: Path, folds: Folds) -> None:
    """Write the folds atomically, readable by `read_folds`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = _File(folds=folds.folds, test=folds.test, init=folds.init)
    write_text(path, json.dumps(content.model_dump(mode="json"), indent=1) + "\n")


def read_folds(path: Path) -> Folds:
    """Read a file of `write_folds`.

    Raises
    ------
    DatasetError
        If it is unreadable, over 16 MB or malformed, or a name occurs twice.
    """
    try:
        found = _File.model_validate_json(decoded_text(read_bounded(path, MAX_BYTES)))
    except ValidationError:
        raise DatasetError(
            f"{shown(path)} does not list the folds of a cross-validation. Copy it again from the "
            "folder that latentfm-train wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"Cannot read {shown(path)}: {error}. Copy it again.") from None
    seen = Counter(name for fold in (*found.folds, found.test) for name in fold)
    twice = {name for name, count in seen.items() if count > 1}
    if twice:
        raise DatasetError(
            f"{shown(path)} names {counted(len(twice), 'image')} twice: {name_some(twice)}. Copy "
            "it again."
        )
    return Folds(found.folds, found.test, found.init)
