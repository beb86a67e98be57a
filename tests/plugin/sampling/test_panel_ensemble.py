"""A cross-validation chosen as the model of the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.folds import copy_folds
from tests.helpers.plugin_fixtures import assert_idle, choose_model, run

Open = Callable[..., tuple[Any, SamplingPanel]]


def test_samples_of_the_panel_are_those_of_python(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, fold_models: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    choose_model(panel, fold_models, 4)
    assert run(qtbot, panel) == "done"
    segmenter = Segmenter.load(fold_models, "cpu")
    samples = segmenter.sample(ImageInput(blob_image), SamplingConfig(n_samples=4, steps=2))
    wanted = segmenter.summarise(samples)
    np.testing.assert_array_equal(viewer.layers["a · mean mask"].data, wanted.mean_mask)
    np.testing.assert_array_equal(viewer.layers["a · samples"].data, wanted.sample_masks)
    found = viewer.layers["a · mean mask"].metadata[METADATA_KEY]
    assert found["model_sha256"] == segmenter.card.weights_sha256


def test_a_calibration_made_meanwhile_is_noticed(
    qtbot: Any,
    docked_panel: Open,
    blob_image: np.ndarray,
    blob_folders: tuple[Path, Path],
    fold_models: Path,
    tmp_path: Path,
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    choose_model(panel, folder, 4)
    assert run(qtbot, panel) == "done"
    assert not panel.form.confidence.enabled
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]
    options = ["--samples", "4", "--steps", "2", "--device", "cpu", "--allow-few", "--quiet"]
    assert calibrate([*map(str, words), *options]) == 0
    assert run(qtbot, panel) == "done"
    assert panel.form.confidence.enabled
    assert "Confidence: calibrated." in panel.form.status.value


def test_a_half_finished_cross_validation_says_what_is_missing(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, fold_models: Path, tmp_path: Path
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    (folder / "fold_2" / "model.json").unlink()
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    choose_model(panel, folder, 4)
    assert run(qtbot, panel) == "failed"
    assert "fold_2 is not trained yet" in panel.form.status.value
    assert_idle(panel)


def test_the_panel_says_that_a_model_is_an_ensemble(
    docked_panel: Open, fold_models: Path, tiny_model_folder: Path
) -> None:
    _, panel = docked_panel()
    choose_model(panel, fold_models, 4)
    count = len(list(fold_models.glob("fold_*/model.json")))
    assert str(panel.form.status.value).startswith(f"Ensemble of {count} models")
    choose_model(panel, tiny_model_folder, 4)
    assert panel.form.status.value == ""
