"""Images of a training run: reading, and the split of a new or a resumed run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from latentfm_core.bars import is_quiet, progress_bar
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.datasets.balance import balanced
from latentfm_core.datasets.canvas_sets import load_canvas_sets, unique_pairs
from latentfm_core.datasets.folds import training_split
from latentfm_core.datasets.in_memory import CanvasSet, load_canvases
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.object_set import (
    ObjectSet,
    SetPairs,
    find_sets,
    joined_split,
    load_objects,
    load_sets,
    with_split,
)
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.splits import Split
from latentfm_core.errors import Cancelled
from latentfm_core.training.checkpoint import Checkpoint
from latentfm_core.training.options import RunOptions
from latentfm_core.training.run_record import resumed_split

logger = logging.getLogger(__name__)

DataSet = CanvasSet | ObjectSet
"""Canvases; for a promptable model, images with their objects."""

SLOW_READING = 60.0
"""Reading time in seconds above which a cache is recommended."""


@dataclass(frozen=True)
class RunData:
    """Images of a run.

    Attributes
    ----------
    split
        The parts, without unusable images.
    train, val
        Images in memory; `val` is None if that part is empty.
    pairs
        Files of each image by name.
    """

    split: Split
    train: DataSet
    val: DataSet | None
    pairs: dict[str, Pair]


class DataReader:
    """Reads the images of a run.

    Parameters
    ----------
    checkpoint
        Checkpoint that the run resumes from; its split is kept.
    """

    def __init__(
        self, config: Config, options: RunOptions, checkpoint: Checkpoint | None, quiet: bool
    ) -> None:
        self._config, self._data = config, config.data
        self._options, self._checkpoint = options, checkpoint
        self._fills_cache = not options.dry_run
        self._quiet = quiet or is_quiet(logger)

    def read(self) -> RunData:
        """Find, split and read the images.

        Raises
        ------
        DatasetError
            If images and masks do not form a data set.
        CheckpointError
            If they have changed since the run began and `changed_data` does not allow it.
        Cancelled
            If a stop was requested.
        """
        start = time.monotonic()
        data = self._read_sets() if self._data.sets else self._read_pairs()
        seconds = time.monotonic() - start
        cacheable = self._data.cache is None and not self._config.model.prompts
        if seconds > SLOW_READING and cacheable:
            logger.info(
                "Reading the images took %.0f s. The next run starts immediately if you add "
                "--cache FOLDER, which keeps copies of them there.",
                seconds,
            )
        return data

    def _read_pairs(self) -> RunData:
        pairs = {pair.name: pair for pair in training_pairs(self._data)}
        split = self._split(pairs)
        train = self._load([pairs[name] for name in split.train], "training images")
        held_out = [pairs[name] for name in split.val]
        val = self._load(held_out, "validation images") if held_out else None
        return self._usable(split, train, val, pairs)

    def _read_sets(self) -> RunData:
        sets = find_sets(self._data)
        split = joined_split(sets)
        if self._checkpoint is not None:
            split = self._split([*split.train, *split.val, *split.test], split)
            sets = with_split(sets, split)
        train = self._load_part(sets, "train", split)
        val = self._load_part(sets, "val", split) if split.val else None
        pairs = {name: pair for one in sets for name, pair in unique_pairs(one).items()}
        return self._usable(split, train, val, pairs)

    def _usable(
        self, split: Split, train: DataSet, val: DataSet | None, pairs: dict[str, Pair]
    ) -> RunData:
        used = {*train.names, *(() if val is None else val.names), *split.test}
        weighted = balanced(train, self._config.model.classes, self._data.rare_class)
        return RunData(split.restricted(used), weighted, val, pairs)

    def _split(self, names: Collection[str], drawn: Split | None = None) -> Split:
        """Return the split: unchanged if the run is resumed, unless `--changed-data` redraws it.

        `drawn` is the split as drawn now, used in place of `training_split`.
        """
        checkpoint, changed = self._checkpoint, self._options.changed_data
        redrawn = drawn is not None and changed == "redraw"
        if checkpoint is None or checkpoint.run is None or redrawn:
            return drawn or training_split(names, self._data)
        stored = config_from_mapping(checkpoint.config).data
        return resumed_split(checkpoint.run.data, names, self._data, stored, changed)

    def _load(self, pairs: list[Pair], what: str) -> DataSet:
        with self._bar(what, len(pairs)) as advance:
            if self._config.model.prompts:
                return load_objects(pairs, self._data, advance)
            classes = len(self._config.model.classes)
            return load_canvases(pairs, self._data, advance, classes, fill_cache=self._fills_cache)

    def _load_part(
        self, sets: list[SetPairs], part: Literal["train", "val"], split: Split
    ) -> DataSet:
        what = {"train": "training images", "val": "validation images"}[part]
        with self._bar(what, len(getattr(split, part))) as advance:
            if self._config.model.prompts:
                return load_sets(sets, part, self._data, advance)
            classes = len(self._config.model.classes)
            return load_canvas_sets(sets, part, self._data, classes, advance, self._fills_cache)

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        with progress_bar(total, f"reading {what}", "image", self._quiet) as bar:

            def advance(done: int, total: int) -> None:
                bar.update()
                if self._options.should_stop_reading():
                    raise Cancelled("Stopped while the images were read.")

            yield advance
