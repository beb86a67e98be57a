"""Several data sets in one run of a model without prompts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import config_from_mapping
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.model_io.card import read_card
from latentfm_core.training.cross_validation import CrossValidation
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import tiny_settings, write_blobs
from tests.helpers.prompting import write_discs
from tests.helpers.training_runs import StopAfter


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Blobs as two raters mark them, and discs as numbered objects."""
    blobs, masks = write_blobs(tmp_path / "blobs", 10)
    for rater in ("anna", "ben"):
        shutil.copytree(masks, tmp_path / "raters" / rater)
    discs = write_discs(tmp_path / "discs", 5, seed=3)
    values = tiny_settings(flow={"epochs": 3, "batch_size": 4}, mask_vae={"epochs": 1})
    sets = [
        {"name": "blobs", "images": str(blobs), "masks": str(tmp_path / "raters"), "weight": 3},
        {"name": "discs", "images": str(discs[0]), "masks": str(discs[1]), "kind": "instances"}
        | {"weight": 1},
    ]
    values["data"] = {"size": 64, "sets": sets, "val_fraction": 0.2, "test_fraction": 0.2}
    return values


def test_the_sets_keep_their_raters_kinds_and_weights(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    trainer = Trainer(config_from_mapping(settings), RunOptions(tmp_path / "model"))
    trainer.close()
    train, val = trainer.state.data.train, trainer.state.data.val
    assert isinstance(train, CanvasSet)
    assert isinstance(val, CanvasSet)
    blobs = np.array([name.startswith("blobs__") for name in train.names])
    assert (blobs.sum(), (~blobs).sum()) == (6, 3)
    assert set(train.raters[blobs]) == {2}
    assert set(train.raters[~blobs]) == {1}
    assert set(np.unique(train.masks)) == {0, 1}, "numbered objects are foreground"
    assert train.weights is not None
    assert train.weights[blobs].sum() == pytest.approx(0.75)
    assert len({name.split("__")[0] for name in val.names[:2]}) == 2, "validated on both"
    assert [pair.name for pair in train.stored] == list(train.names)


def test_a_run_on_several_sets_is_stopped_and_resumed(
    settings: dict[str, Any], tmp_path: Path, printed: Printed
) -> None:
    config = config_from_mapping(settings)
    assert Trainer(config, RunOptions(tmp_path / "whole")).run() is not None
    options = RunOptions(tmp_path / "parts", should_stop=StopAfter(0))
    assert Trainer(config, options).run() is None
    said = printed(main, ["--resume", "--out", str(tmp_path / "parts")])
    assert "blobs 6 train, 2 val, drawn 75%; discs 3 train, 1 val, drawn 25%" in said
    written = [read_card(tmp_path / name).weights_sha256 for name in ("whole", "parts")]
    assert written[0] == written[1]


@pytest.mark.parametrize("longer", ["blobs__2", "blobs_"])
def test_sets_whose_images_cannot_be_told_apart_are_refused(
    settings: dict[str, Any], tmp_path: Path, longer: str
) -> None:
    settings["data"]["sets"][1]["name"] = longer
    out = tmp_path / "model"
    message = f"The sets blobs and {longer} cannot be distinguished"
    with pytest.raises(ConfigError, match=message):
        Trainer(config_from_mapping(settings), RunOptions(out))
    settings["data"]["folds"] = 2
    with pytest.raises(ConfigError, match=message):
        CrossValidation(config_from_mapping(settings), RunOptions(out))
    assert not out.exists()


def test_incompatible_sets_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["model"]["classes"] = ["disc", "cup"]
    with pytest.raises(ConfigError, match="numbered objects"):
        config_from_mapping(settings)
    settings["data"]["sets"][1]["kind"] = "masks"
    settings["data"]["sets"][0]["mask_threshold"] = 127
    with pytest.raises(ConfigError, match=r"Set blobs: mask_threshold has no effect: .* classes"):
        Trainer(config_from_mapping(settings), RunOptions(tmp_path / "model"))
    del settings["data"]["sets"][0]["mask_threshold"]
    with pytest.raises(
        DatasetError, match=r"Set blobs: 6 of 6 pairs cannot be used(?s:.*)No pair is left"
    ):
        Trainer(config_from_mapping(settings), RunOptions(tmp_path / "model"))
