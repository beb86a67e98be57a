"""Train, validation and test parts of a data set."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from latentfm_core.config import DataConfig
from latentfm_core.datasets.groups import MAX_BYTES, known_name, read_groups
from latentfm_core.errors import DatasetError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.names import comparable, counted, is_path, name_some, shown
from latentfm_core.once import first_time
from latentfm_core.vocabulary import PARTS

__all__ = [
    "MAX_BYTES",
    "Split",
    "make_split",
    "read_groups",
    "read_split",
    "units_of",
    "write_split",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Names of the images of each part, sorted; no name is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def restricted(self, names: Iterable[str]) -> Split:
        """Return this split restricted to `names`."""
        kept = set(names)
        return Split(*(tuple(n for n in getattr(self, part) if n in kept) for part in PARTS))


def make_split(names: Iterable[str], config: DataConfig) -> Split:
    """Split the images as set in `config`.

    A split file takes precedence. Otherwise whole groups or single images are drawn at random
    with ``config.split_seed``; the result does not depend on the order of `names`.

    Raises
    ------
    DatasetError
        If a file cannot be read, a name is missing or in two parts, the split file divides a
        group, or the training part would be empty.
    """
    ordered = sorted({comparable(name) for name in names})
    if config.split_file is not None:
        split = read_split(config.split_file, ordered)
        _check_names_exist(split, ordered, config.split_file)
        _warn_of_unnamed(split, ordered, config.split_file)
        _check_undivided(split, config, config.split_file)
    else:
        split = _split_units(units_of(ordered, config), config)
    if not split.train:
        raise DatasetError(
            "The training part is empty. Add images, or lower data.val_fraction and "
            "data.test_fraction, or fix the split file."
        )
    return split


def read_split(path: Path, names: Collection[str] = ()) -> Split:
    """Read a JSON object with the lists ``train``, ``val`` and ``test`` of image names.

    A missing list is empty.

    Parameters
    ----------
    names
        Names of the images, if they are known: an entry may then also be a file name, as in a
        group file (`read_groups`).

    Raises
    ------
    DatasetError
        If the file is unreadable, over 16 MB or malformed, a name occurs twice, or an entry is
        a path rather than a name.
    """
    form = 'It must be {"train": [...], "val": [...], "test": [...]} with image names.'
    try:
        content = parse_json(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        advice = "Check the path." if isinstance(error, OSError) else form
        raise DatasetError(
            f"Cannot read the split file {shown(path)}: "
            f"{getattr(error, 'strerror', None) or error}. {advice}"
        ) from None
    if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
        raise DatasetError(
            f"The split file {shown(path)} is a list of {len(content)} folds, as splits_final.json "
            "of nnU-Net. Save one of them, without the brackets [ ] of the list, as a separate "
            f"file, or let --folds COUNT draw folds. {form}"
        )
    if not isinstance(content, dict) or not content:
        raise DatasetError(f"The split file {shown(path)} is malformed. {form}")
    if unknown := [_unknown(key) for key in content if key not in PARTS]:
        raise DatasetError(
            f"The split file {shown(path)} has unknown lists: {name_some(unknown)}. {form}"
        )
    known = set(names)
    seen: Counter[str] = Counter()
    for part in PARTS:
        listed = content.get(part, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise DatasetError(
                f"The split file {shown(path)}: {part} is not a list of names. {form}"
            )
        listed = content[part] = [_name_of(comparable(name), known) for name in listed]
        seen.update(listed)
    paths = {name for name in seen if is_path(name)}
    if paths:
        raise DatasetError(
            f"The split file {shown(path)} has {counted(len(paths), 'path')}: {name_some(paths)}. "
            "Entries must be image names without folder and extension."
        )
    twice = {name for name, count in seen.items() if count > 1}
    if twice:
        raise DatasetError(
            f"The split file {shown(path)} names {counted(len(twice), 'image')} twice: "
            f"{name_some(twice)}. An image may be in only one part."
        )
    return Split(*(tuple(sorted(content.get(part, []))) for part in PARTS))


def _name_of(entry: str, known: Collection[str]) -> str:
    name = known_name(entry, known)
    return name if name in known else entry


def _unknown(key: str) -> str:
    """Return an unknown key, with the part that it may mean."""
    word = key.strip().lower()
    known = [part for part in PARTS if word.startswith(part)]
    near = known or get_close_matches(word, PARTS, 1, 0.5)
    return f"{shown(key)} (did you mean {near[0]}?)" if near else shown(key)


def write_split(path: Path, split: Split) -> None:
    """Write a split file atomically, readable by `read_split`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    lists = {part: list(getattr(split, part)) for part in PARTS}
    write_text(path, json.dumps(lists, indent=1) + "\n")


def _check_names_exist(split: Split, names: Sequence[str], path: Path) -> None:
    missing = {name for part in PARTS for name in getattr(split, part)} - set(names)
    if missing:
        count = counted(len(missing), "image that does", "images that do")
        raise DatasetError(
            f"The split file {shown(path)} names {count} not exist: "
            f"{name_some(missing)}. Names are file names without extension: fix the file, or add "
            "the images."
        )


def _warn_of_unnamed(split: Split, names: Sequence[str], path: Path) -> None:
    """Warn of images that a split file leaves out, once for each file."""
    left_out = set(names) - {name for part in PARTS for name in getattr(split, part)}
    if left_out and first_time("unnamed images", path):
        logger.warning(
            "The split file %s does not name %d of %d images, which are not used: %s",
            shown(path),
            len(left_out),
            len(names),
            name_some(left_out),
        )


def _check_undivided(split: Split, config: DataConfig, path: Path) -> None:
    """Reject a split file that divides groups; folds draw their own parts."""
    parts = {name: part for part in PARTS for name in getattr(split, part)}
    if config.folds is not None:
        parts = {name: part if part == "test" else "train or val" for name, part in parts.items()}
    divided = [
        unit for unit in units_of(sorted(parts), config) if len({parts[n] for n in unit}) > 1
    ]
    if divided:
        listed = name_some(f"{name} ({parts[name]})" for name in divided[0])
        raise DatasetError(
            f"The split file {shown(path)} divides {counted(len(divided), 'group')} of the group "
            f"file, for example {listed}. Move each group to one part, or leave out the group file "
            "or the split file."
        )


def units_of(names: Sequence[str], config: DataConfig) -> list[tuple[str, ...]]:
    """Return the units that are never divided: the groups of the group file, or single images.

    Raises `DatasetError` as `read_groups` does.
    """
    if config.group_file is None or config.group_column is None:
        return [(name,) for name in names]
    groups = read_groups(config.group_file, config.group_column, names)
    names_by_group: dict[str, list[str]] = {}
    for name in sorted(groups):
        names_by_group.setdefault(groups[name], []).append(name)
    return [tuple(names_by_group[group]) for group in sorted(names_by_group)]


def _split_units(units: Sequence[tuple[str, ...]], config: DataConfig) -> Split:
    """Assign units (groups or single images) to parts in random order.

    A unit goes to the test part, else to the validation part, while that brings the part
    closer to its share; the rest is for training. A part with a share above 0 gets at least
    one unit.
    """
    total = sum(len(unit) for unit in units)
    shares = {"test": config.test_fraction * total, "val": config.val_fraction * total}
    wanted = [part for part, share in shares.items() if share > 0]
    if len(units) < 1 + len(wanted):
        raise DatasetError(
            f"{counted(len(units), 'group or image is', 'groups or images are')} too few for "
            f"{1 + len(wanted)} parts. "
            "Add data, or set data.val_fraction or data.test_fraction to 0."
        )
    order = np.random.default_rng(config.split_seed).permutation(len(units))
    parts: dict[str, list[tuple[str, ...]]] = {"train": [], "val": [], "test": []}
    for index in order:
        unit = units[index]
        part = next((p for p in wanted if _fits(parts[p], unit, shares[p])), "train")
        parts[part].append(unit)
    for part in wanted:
        if not parts[part]:
            donor = max(parts, key=lambda name: len(parts[name]))
            smallest = min(parts[donor], key=len)
            parts[donor].remove(smallest)
            parts[part].append(smallest)
    return Split(*(tuple(sorted(n for unit in parts[part] for n in unit)) for part in PARTS))


def _fits(part: Sequence[tuple[str, ...]], unit: tuple[str, ...], share: float) -> bool:
    return sum(map(len, part)) + len(unit) / 2 <= share
