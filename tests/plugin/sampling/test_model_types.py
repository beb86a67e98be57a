"""Ensembles, promptable models and models that know their domain in the panel."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.model_io.card import read_card, write_card
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.types import ImageInput
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of, sidecar_of
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.status import UNLIKE
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.folds import copy_folds
from tests.helpers.plugin_fixtures import (
    OpenDock,
    OpenPanel,
    Window,
    assert_idle,
    choose_model,
    ending_of,
    run,
)
from tests.helpers.prompting import two_discs

pytestmark = pytest.mark.usefixtures("forget_notifications")


def test_samples_of_the_panel_equal_those_of_python(
    qtbot: Any, photo_window: Window, blob_image: np.ndarray, fold_models: Path
) -> None:
    viewer, panel = photo_window
    choose_model(panel, fold_models, 4)
    assert run(qtbot, panel) == "done"
    segmenter = Segmenter.load(fold_models, "cpu")
    samples = segmenter.sample(ImageInput(blob_image), SamplingConfig(n_samples=4, steps=2))
    wanted = segmenter.summarise(samples)
    np.testing.assert_array_equal(viewer.layers["a · mean mask"].data, wanted.mean_mask)
    np.testing.assert_array_equal(viewer.layers["a · samples"].data, wanted.sample_masks)
    found = viewer.layers["a · mean mask"].metadata[METADATA_KEY]
    assert found["model_sha256"] == segmenter.card.weights_sha256


def test_a_new_calibration_is_detected(
    qtbot: Any, photo_window: Window, blob_folders: Folders, fold_models: Path, tmp_path: Path
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    _, panel = photo_window
    choose_model(panel, folder, 4)
    assert run(qtbot, panel) == "done"
    assert not panel.form.confidence.enabled
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]
    options = ["--samples", "4", "--steps", "2", "--device", "cpu", "--allow-few", "--quiet"]
    assert calibrate([*map(str, words), *options]) == 0
    assert run(qtbot, panel) == "done"
    assert panel.form.confidence.enabled
    assert "Confidence: calibrated." in panel.form.status.value


def test_an_unfinished_cross_validation_lists_what_is_missing(
    qtbot: Any, photo_window: Window, fold_models: Path, tmp_path: Path
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    (folder / "fold_2" / "model.json").unlink()
    _, panel = photo_window
    choose_model(panel, folder, 4)
    assert run(qtbot, panel) == "failed"
    assert "fold_2 is not trained yet" in panel.form.status.value
    assert_idle(panel)


def test_the_panel_reports_ensembles_and_unusable_models(
    docked_panel: OpenPanel, fold_models: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = docked_panel()
    choose_model(panel, fold_models, 4)
    count = len(list(fold_models.glob("fold_*/model.json")))
    assert str(panel.form.status.value).startswith(f"Ensemble of {count} models")
    choose_model(panel, tiny_model_folder, 4)
    assert panel.form.status.value == ""
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    write_card(folder, read_card(folder).model_copy(update={"metrics": {"val_dice": 0.1}}))
    choose_model(panel, folder, 4)
    assert "not usable yet: its validation Dice is 0.10" in panel.form.status.value


def test_a_box_prompt_gives_the_same_result_as_python(
    qtbot: Any, docked_panel: OpenPanel, promptable_model_folder: Path
) -> None:
    image, labels = two_discs(np.random.default_rng(21))
    viewer, panel = docked_panel()
    viewer.add_image(image, rgb=True, name="discs", scale=(0.5, 0.5))
    panel.form.model.choose(promptable_model_folder)
    panel.form.n_samples.value = 3
    panel.form.steps.value = 2
    segmenter = Segmenter.load(promptable_model_folder, "cpu")
    for number in (2, 1):
        prompt = Prompt(box=extent(labels == number))
        assert ending_of(qtbot, panel, partial(panel.run_prompt, prompt)) == "done"
        shown = np.asarray(viewer.layers["discs · mean mask"].data) > 0
        assert dice(shown, labels == number) > 0.85
        settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
        samples = segmenter.sample(ImageInput(image), settings, prompt=prompt)
        np.testing.assert_array_equal(shown, segmenter.summarise(samples).mean_mask)
    count = len(viewer.layers)
    outside = Prompt(box=(500, 500, 600, 600))
    assert ending_of(qtbot, panel, partial(panel.run_prompt, outside)) == "failed"
    assert "outside the image of 64 x 96" in str(panel.last_error)
    assert len(viewer.layers) == count


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_the_out_of_domain_warning_stays_in_the_footer_alone(
    qtbot: Any, opened_dock: OpenDock, domain_model_folder: Path
) -> None:
    viewer, dock = opened_dock()
    panel, notice = dock.sampling, dock.footer.notice
    choose_model(panel, domain_model_folder, 3)
    viewer.add_image(noise(), rgb=True, name="something else")
    before = len(notification_manager.records)
    for _ in range(2):
        assert run(qtbot, panel) == "done"
        assert panel.form.status.value.startswith("something else: ⚠ Unlike the training images. ")
        assert "Expected Dice" not in panel.form.status.value
        assert notice.text == f"something else: {UNLIKE}"
        assert not notice.isHidden()
    assert len(notification_manager.records) == before
    assert "nlike" not in dock.review.regions.sizes.text()
    mean = viewer.layers["something else · mean mask"]
    assert mean.metadata[METADATA_KEY]["domain_score"] > 1
    # An annotation records the score.
    session = session_of(viewer)
    assert session.current is not None
    write_labels(session, session.current.result.summary.sample_masks[0])
    layer = annotation_of(session)
    assert layer is not None
    facts = facts_of(layer)
    assert facts is not None
    output = sidecar_of(facts, layer.data)
    assert output.proposals[0].domain_score == session.current.result.summary.domain_score


def test_there_is_no_warning_for_an_image_like_the_training_images(
    qtbot: Any, opened_dock: OpenDock, domain_model_folder: Path, blob_folders: Folders
) -> None:
    viewer, dock = opened_dock()
    dock.sampling.form.model.choose(domain_model_folder)
    viewer.open(str(blob_folders[0] / "blob_000.png"), plugin="napari")
    assert run(qtbot, dock.sampling) == "done"
    assert dock.sampling.form.status.value.startswith("blob_000: Mean mask: ")
    assert dock.footer.notice.isHidden()
