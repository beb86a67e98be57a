"""A small ensemble of trained folds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latentfm_core.config import config_from_mapping
from latentfm_core.training.cross_validation import CrossValidation
from latentfm_core.training.trainer import RunOptions
from tests.helpers.fixtures import Folders, made_once, tiny_settings

MEMBERS = 3


@pytest.fixture(scope="session")
def fold_models(blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three folds, trained on `blob_folders` in seconds."""
    values = tiny_settings()
    places = dict(zip(("images", "masks"), map(str, blob_folders), strict=True))
    values["data"] = {**values["data"], **places, "folds": MEMBERS}  # type: ignore[dict-item]
    for stage in ("mask_vae", "flow"):
        values["training"][stage] |= {"epochs": 4}  # type: ignore[index]

    def make(folder: Path) -> None:
        options = RunOptions(folder / "folds")
        if CrossValidation(config_from_mapping(values), options).run() is None:
            pytest.fail("the tiny cross-validation did not finish")

    return made_once(tmp_path_factory, "ensemble", make) / "folds"


def copy_folds(folder: Path, target: Path) -> Path:
    """Copy cards, weights and folds of a cross-validation; return `target`."""
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("training"))
