"""Images that the annotator works through, and other images of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.learning.parts import read_parts
from benchmarks.prompts.datasets import DATASETS
from latentfm_core.config import DataConfig
from latentfm_core.datasets.pair_reading import read_binary
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import make_split, read_groups
from latentfm_core.errors import DatasetError
from latentfm_core.types import Bool, ImageInput

SPLITS = Path("configs/splits")


@dataclass(frozen=True)
class Selection:
    """Images by role; no image, and no group, has both roles.

    Attributes
    ----------
    pairs
        All images of the set by name.
    worked_through
        Images that the annotator accepts, in order.
    others
        Images on which the models are compared.
    """

    pairs: Mapping[str, Pair]
    worked_through: tuple[str, ...]
    others: tuple[str, ...]

    def read(self, name: str) -> tuple[ImageInput, Bool]:
        """Return an image and its mask ``(H, W)``; of several raters that of the first."""
        read = read_binary(self.pairs[name])
        return read.image, read.masks[0]


def select(
    dataset: str, data: Path, accepted: int, others: int, seed: int, tuning: bool
) -> Selection:
    """Draw the images of a data set.

    `busi`, of which no bundled model has seen an image, has its own parts: its test and
    tuning parts. Of another set all images are from the test or validation part of its split file.

    Parameters
    ----------
    dataset
        A name of `benchmarks.prompts.datasets.DATASETS`.
    data
        Folder of the data sets.
    accepted, others
        Number of images to work through, and most images to compare on.
    seed
        Seed of the order.
    tuning
        Images for choices of settings, the validation part of other sets, instead of test images.

    Raises
    ------
    DatasetError
        If there are too few images.
    """
    known = DATASETS[dataset]
    folder = data / known.folder
    pairs = {pair.name: pair for pair in find_pairs(folder / "images", folder / "masks")}
    if dataset == "busi":
        worked, rest = _busi(pairs, seed, tuning)
    else:
        split = make_split(pairs, DataConfig(split_file=SPLITS / str(known.split)))
        names = split.val if tuning else split.test
        groups = {name: name for name in names}
        if known.group_file is not None and known.group_column is not None:
            file = folder / known.group_file
            groups = read_groups(file, known.group_column, names, known.group_key)
        worked, rest = _divided(names, groups, accepted, seed)
    if len(worked) < accepted or not rest:
        raise DatasetError(f"{dataset} has too few images to accept {accepted} and test others.")
    return Selection(pairs, tuple(worked[:accepted]), tuple(rest[:others]))


def _busi(pairs: Iterable[str], seed: int, tuning: bool) -> tuple[list[str], list[str]]:
    parts = read_parts()
    if tuning:
        return list(parts.tuning_train), list(parts.tuning_val)
    others = {*parts.test, *parts.tuning_train, *parts.tuning_val}
    worked = _shuffled([name for name in pairs if name not in others], seed)
    return worked, _shuffled(parts.test, seed)


def _divided(
    names: Sequence[str], groups: Mapping[str, str], accepted: int, seed: int
) -> tuple[list[str], list[str]]:
    """Give whole groups to the annotator until there are enough images."""
    worked: list[str] = []
    rest: list[str] = []
    for group in _shuffled(set(groups.values()), seed):
        members = sorted(name for name in names if groups[name] == group)
        (worked if len(worked) < accepted else rest).extend(members)
    return _shuffled(worked, seed), _shuffled(rest, seed)


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    ordered = sorted(names)
    return [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
