"""Training images of promptable models, in memory at nearly full resolution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import DataConfig, ReadingConfig, SetConfig
from latentfm_core.datasets.facts import image_sizes
from latentfm_core.datasets.folds import training_split
from latentfm_core.datasets.in_memory import report_problems
from latentfm_core.datasets.pair_reading import (
    ReadPair,
    is_of_work_list,
    read_binary,
    read_instances,
)
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.reading_threads import in_threads
from latentfm_core.datasets.reduced import reduced_image, reduced_labels, reduced_shape
from latentfm_core.datasets.splits import Split
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.files.memory import check_memory
from latentfm_core.images.read import to_rgb
from latentfm_core.names import counted

Kind = Literal["masks", "instances"]

MIN_OBJECT = 12
"""Minimum pixels of an object for a prompt; smaller ones are mostly noise."""


@dataclass(frozen=True)
class TrainingImage:
    """An image and its expert annotations.

    Attributes
    ----------
    name
        Unique in its `ObjectSet`.
    rgb
        ``(H, W, 3)`` uint8, 255 = 1.0 of `to_rgb`.
    masks
        ``(M, H, W)``, one for each rater: uint8 0 or 1, or uint16 with objects numbered from 1.
    set_name
        Name of its data set; empty if there is one.
    stored
        How its files store image and masks; None if it was not read from files.
    """

    name: str
    rgb: NDArray[np.uint8]
    masks: NDArray[np.uint8] | NDArray[np.uint16]
    kind: Kind = "masks"
    set_name: str = ""
    stored: StoredPair | None = None


@dataclass(frozen=True)
class ObjectSet:
    """Images of one or several data sets, and their sampling weights.

    Attributes
    ----------
    weights
        ``(N,)`` float64 sampling probabilities, sum 1.
    skipped
        Error of each skipped pair, by name.
    unprompted
        Share of the images to show in full and without a prompt.
    """

    images: tuple[TrainingImage, ...]
    weights: NDArray[np.float64]
    skipped: dict[str, str]
    unprompted: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, in order."""
        return tuple(image.name for image in self.images)

    @property
    def raters(self) -> NDArray[np.intp]:
        """Number of masks of each image, ``(N,)``."""
        return np.array([len(image.masks) for image in self.images], np.intp)


@dataclass(frozen=True)
class SetPairs:
    """The pairs of one data set and their split."""

    settings: SetConfig
    pairs: dict[str, Pair]
    split: Split


def find_sets(data: DataConfig) -> list[SetPairs]:
    """Find and split the pairs of every set of `data`.

    Raises
    ------
    DatasetError
        As `find_pairs` and `training_split` do; the message begins with the name of the set.
    """
    found = []
    for one in data.sets:
        config = alone(one, data)
        try:
            pairs = {
                pair.name: pair
                for pair in find_pairs(one.images, one.masks, data.skip_unmasked, data.reading)
            }
            found.append(SetPairs(one, pairs, training_split(pairs, config)))
        except DatasetError as error:
            raise DatasetError(f"Set {one.name}: {error}") from None
    return found


def alone(one: SetConfig, data: DataConfig) -> DataConfig:
    """Return the settings of one of the sets as those of a single data set."""
    values = one.model_dump(include={"images", "masks", "split_file", "group_file", "group_column"})
    return data.model_copy(update={"sets": (), "split_file": None, **values})


def joined_split(sets: Iterable[SetPairs]) -> Split:
    """Return the joint split of all sets, with the names used in an `ObjectSet`."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for one in sets:
        for part, names in parts.items():
            names += [unique_name(one.settings.name, name) for name in getattr(one.split, part)]
    return Split(*(tuple(sorted(parts[part])) for part in ("train", "val", "test")))


def with_split(sets: Iterable[SetPairs], split: Split) -> list[SetPairs]:
    """Return the sets with the given `split`, which has the names of `joined_split`."""
    divided = []
    for one in sets:
        unique = {unique_name(one.settings.name, name): name for name in one.pairs}
        parts = (
            tuple(sorted(unique[name] for name in getattr(split, part) if name in unique))
            for part in ("train", "val", "test")
        )
        divided.append(replace(one, split=Split(*parts)))
    return divided


def unique_name(set_name: str, name: str) -> str:
    """Return the name of an image, unique across sets."""
    return f"{set_name}__{name}"


def set_of(name: str, sets: Iterable[SetConfig]) -> str:
    """Return the name of the set that an image with the unique `name` is from, else ``""``."""
    return next((one.name for one in sets if name.startswith(unique_name(one.name, ""))), "")


def names_in_set(set_name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in a set of those that `unique_name` gave its images."""
    start = unique_name(set_name, "")
    return tuple(name.removeprefix(start) for name in names if name.startswith(start))


def load_sets(
    sets: Sequence[SetPairs],
    part: Literal["train", "val"],
    data: DataConfig,
    on_progress: Callable[[int, int], None] | None = None,
) -> ObjectSet:
    """Decode one part of all sets, in threads.

    Raises `DatasetError` and `ResourceError` as `latentfm_core.datasets.in_memory.load_canvases`
    does.
    """
    jobs = [(one.settings, one.pairs[name]) for one in sets for name in getattr(one.split, part)]
    counts = [len(getattr(one.split, part)) for one in sets]
    return _load(jobs, np.repeat(shares_of(sets, part), counts), data, on_progress)


def shares_of(sets: Sequence[SetPairs], part: Literal["train", "val"]) -> list[float]:
    """Return how often an image of each set is drawn, relative to the others."""
    counts = [len(getattr(one.split, part)) for one in sets]
    weights = [one.settings.weight or count**0.5 for one, count in zip(sets, counts, strict=True)]
    return [weight / max(1, count) for weight, count in zip(weights, counts, strict=True)]


def load_objects(
    pairs: Sequence[Pair],
    data: DataConfig,
    on_progress: Callable[[int, int], None] | None = None,
) -> ObjectSet:
    """Decode the pairs of a single data set with equal sampling weights."""
    return _load([(None, pair) for pair in pairs], np.ones(len(pairs)), data, on_progress)


def _load(
    jobs: Sequence[tuple[SetConfig | None, Pair]],
    shares: NDArray[np.float64],
    data: DataConfig,
    on_progress: Callable[[int, int], None] | None,
) -> ObjectSet:
    _check_memory(jobs, data.resolution)
    problems: dict[str, ImageError] = {}
    images: list[TrainingImage] = []
    kept: list[float] = []

    def decode(index: int) -> TrainingImage | ImageError:
        return _decoded(*jobs[index], data)

    with closing(in_threads(decode, len(jobs), min(8, os.cpu_count() or 1))) as results:
        for index, (job, result) in enumerate(zip(jobs, results, strict=True)):
            if isinstance(result, ImageError):
                problems[_name(job[0], job[1])] = result
            else:
                images.append(result)
                kept.append(shares[index])
            if on_progress is not None:
                on_progress(index + 1, len(jobs))
    described = report_problems(problems, len(jobs), data)
    if not images:
        raise DatasetError(
            f"None of {counted(len(jobs), 'image')} of a part can be used, so nothing is left to "
            "train or to validate on. Repair one of them, or choose another split."
        )
    weights = np.asarray(kept)
    return ObjectSet(tuple(images), weights / weights.sum(), described, data.unprompted)


def _check_memory(jobs: Sequence[tuple[SetConfig | None, Pair]], longest: int) -> None:
    """Raise `ResourceError` if the images, estimated from the sizes of some, do not fit."""
    sizes = [reduced_shape(size, longest) for size in image_sizes([pair for _, pair in jobs])]
    pixels = sum(rows * columns for rows, columns in sizes) / max(1, len(sizes))
    per_pixel = sum(
        3 + len(pair.masks) * (1 if settings is None or settings.kind == "masks" else 2)
        for settings, pair in jobs
    )
    check_memory(
        pixels * per_pixel,
        f"{counted(len(jobs), 'image')} of up to {longest} x {longest} pixels",
        "Lower data.resolution or use fewer images.",
    )


def _name(settings: SetConfig | None, pair: Pair) -> str:
    return pair.name if settings is None else unique_name(settings.name, pair.name)


def _read(
    pair: Pair, kind: Kind, threshold: float | None, limits: ReadingConfig
) -> tuple[ReadPair, Kind]:
    """Read a pair, and whether its masks number objects; those of a work list may."""
    if kind == "instances" or (threshold is None and is_of_work_list(pair)):
        read = read_instances(pair, limits)
        if kind == "instances" or max(read.stored.objects) > 1:
            return read, "instances"
    return read_binary(pair, threshold, limits), "masks"


def _decoded(
    settings: SetConfig | None, pair: Pair, data: DataConfig
) -> TrainingImage | ImageError:
    """Return the image, or its error."""
    kind: Kind = "masks" if settings is None else settings.kind
    threshold = data.mask_threshold if settings is None else settings.mask_threshold
    try:
        read, kind = _read(pair, kind, threshold, data.reading)
    except ImageError as error:
        return error
    rgb = np.rint(to_rgb(read.image) * 255).astype(np.uint8)
    labels: NDArray[Any] = read.masks.astype(np.uint8 if kind == "masks" else np.uint16)
    shape = reduced_shape((rgb.shape[0], rgb.shape[1]), data.resolution)
    if shape != rgb.shape[:2]:
        rgb, labels = reduced_image(rgb, shape), reduced_labels(labels, shape)
    set_name = "" if settings is None else settings.name
    return TrainingImage(_name(settings, pair), rgb, labels, kind, set_name, read.stored)
