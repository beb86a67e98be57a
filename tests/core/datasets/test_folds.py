"""Folds of a cross-validation: whole groups, each image once, and no test images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentfm_core.config import DataConfig
from latentfm_core.datasets.folds import make_folds, read_folds, training_split, write_folds
from latentfm_core.datasets.splits import make_split
from latentfm_core.errors import DatasetError

NAMES = [f"image_{n:02d}" for n in range(43)]


def config(**more: object) -> DataConfig:
    return DataConfig.model_validate({"folds": 5, **more})


def test_every_image_outside_the_test_part_is_in_exactly_one_fold() -> None:
    folds = make_folds(NAMES, config())
    listed = [name for fold in folds.folds for name in fold]
    assert sorted([*listed, *folds.test]) == NAMES
    # The same images that a single model is tested on.
    assert folds.test == make_split(NAMES, config()).test
    sizes = [len(fold) for fold in folds.folds]
    assert max(sizes) - min(sizes) <= 1
    assert make_folds(reversed(NAMES), config()) == folds
    assert make_folds(NAMES, config(split_seed=1)) != folds


def test_a_fold_is_the_validation_part_of_its_model_and_training_data_of_the_others() -> None:
    folds = make_folds(NAMES, config())
    for fold in range(5):
        split = training_split(NAMES, config(fold=fold))
        assert split.val == folds.folds[fold]
        assert split.test == folds.test
        assert sorted([*split.train, *split.val, *split.test]) == NAMES


def test_groups_are_never_divided(tmp_path: Path) -> None:
    # Groups of 1 to 8 images.
    group = {name: f"patient_{int(index**0.5 * 1.5)}" for index, name in enumerate(NAMES)}
    table = tmp_path / "groups.csv"
    table.write_text("image,patient\n" + "".join(f"{n},{g}\n" for n, g in group.items()))
    settings = config(folds=3, group_file=table, group_column="patient")
    folds = make_folds(NAMES, settings)
    parts = [*folds.folds, folds.test]
    owners = [{group[name] for name in part} for part in parts]
    assert sum(map(len, owners)) == len(set(group.values()))
    sizes = [len(fold) for fold in folds.folds]
    assert max(sizes) - min(sizes) <= 3
    with pytest.raises(DatasetError, match="are too few for 40 folds"):
        make_folds(NAMES, settings.model_copy(update={"folds": 40}))


def test_the_test_part_of_a_split_file_is_excluded(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps({"train": NAMES[:20], "val": NAMES[20:30], "test": NAMES[30:]}))
    folds = make_folds(NAMES, config(split_file=file))
    assert folds.test == tuple(NAMES[30:])
    assert sorted(name for fold in folds.folds for name in fold) == NAMES[:30]


def test_the_file_round_trips_and_damage_is_reported(tmp_path: Path) -> None:
    folds = make_folds(NAMES, config())
    path = tmp_path / "folds.json"
    write_folds(path, folds)
    assert read_folds(path) == folds
    for damaged, message in (
        ('{"folds": [["a"], ["a"]]}', "names 1 image twice: a"),
        ('{"folds": [["a"]]}', "does not list the folds"),
        ("[]", "does not list the folds"),
        ("{", "does not list the folds"),
    ):
        path.write_text(damaged)
        with pytest.raises(DatasetError, match=message):
            read_folds(path)
