"""The model of the sampling panel: confidence, settings and memory."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.config import SAMPLE_SLIDER_MAX, SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card, write_card
from latentfm_core.types import ImageInput
from napari_latentfm.layers.specs import METADATA_KEY
from tests.helpers.fixtures import copy_model, with_sampling
from tests.helpers.plugin_fixtures import (
    PATIENCE,
    OpenPanel,
    Window,
    assert_idle,
    choose_model,
    contents_of,
    ending_of,
    gate,
    run,
)


def test_confidence_of_a_calibrated_model_equals_python(
    qtbot: Any, photo_window: Window, blob_image: np.ndarray, calibrated_model_folder: Path
) -> None:
    viewer, panel = photo_window
    choose_model(panel, calibrated_model_folder, 3)
    assert panel.form.confidence.enabled
    assert panel.form.confidence.value == "calibrated"
    assert run(qtbot, panel) == "done"
    segmenter = Segmenter.load(calibrated_model_folder, "cpu")
    settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
    samples = segmenter.sample(ImageInput(blob_image), settings)
    wanted = segmenter.summarise(samples)
    assert wanted.calibrated
    mean_probability = viewer.layers["a · mean probability"]
    np.testing.assert_array_equal(viewer.layers["a · confidence"].data, wanted.confidence)
    np.testing.assert_array_equal(mean_probability.data, wanted.mean_probability)
    np.testing.assert_array_equal(viewer.layers["a · mean mask"].data, wanted.mean_mask)
    found = mean_probability.metadata[METADATA_KEY]
    assert found["calibrated"] is True
    assert found["settings"]["threshold"] == segmenter.resolved().threshold
    assert "Confidence: calibrated." in panel.form.status.value


def test_the_status_says_if_the_calibration_was_fitted_with_other_settings(
    qtbot: Any, photo_window: Window, calibrated_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = photo_window
    folder = copy_model(calibrated_model_folder, tmp_path / "one_step")
    card = read_card(folder)
    assert card.calibration is not None
    fitted = card.calibration.model_copy(update={"steps": 1})
    write_card(folder, card.model_copy(update={"calibration": fitted}))
    choose_model(panel, folder, 3)
    for steps, ending in (
        (1, "calibrated."),
        (2, "calibrated for other numbers of samples or ODE"),
    ):
        panel.form.steps.value = steps
        assert run(qtbot, panel) == "done"
        assert f"Confidence: {ending}" in panel.form.status.value


def test_raw_and_calibrated_change_the_maps_without_new_samples(
    qtbot: Any, photo_window: Window, calibrated_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, panel = photo_window
    choose_model(panel, calibrated_model_folder, 3)
    run(qtbot, panel)
    mine = viewer.layers["a · mean mask"]
    mine.fill((0, 0), 3)
    before = contents_of(viewer)
    # The samples exist, and a correction of the mask is not asked about.
    monkeypatch.setattr(Segmenter, "sample_steps", lambda *_, **__: pytest.fail("sampled again"))
    panel.ask_about_edits = lambda names: pytest.fail(f"asked about {names}")
    panel.form.n_samples.value = 7
    for choice, calibrated in (("raw", False), ("calibrated", True)):
        change = partial(setattr, panel.form.confidence, "value", choice)
        assert ending_of(qtbot, panel, change) == "done"
        for role in ("confidence", "mean probability"):
            metadata = viewer.layers[f"a · {role}"].metadata[METADATA_KEY]
            assert metadata["calibrated"] is calibrated
            assert metadata["n_samples"] == 3
        changed = {name for name, state in contents_of(viewer).items() if state != before[name]}
        wanted = set() if calibrated else {"a · confidence", "a · mean probability"}
        assert changed == wanted
        assert f"Confidence: {choice}." in panel.form.status.value
        assert_idle(panel)
        assert panel.form.confidence.enabled


def test_an_uncalibrated_model_offers_only_raw_confidence(
    qtbot: Any, photo_window: Window, calibrated_model_folder: Path
) -> None:
    _, panel = photo_window
    confidence = panel.form.confidence
    assert (confidence.enabled, confidence.value) == (False, "raw")
    assert "latentfm-calibrate" in confidence.tooltip
    assert run(qtbot, panel) == "done"
    assert not confidence.enabled
    assert "Confidence: raw." in panel.form.status.value
    # Another model starts no work on the samples of this one.
    panel.form.model.choose(calibrated_model_folder)
    assert (confidence.enabled, confidence.value) == (True, "calibrated")
    assert "latentfm-calibrate" not in confidence.tooltip
    assert_idle(panel)


def test_a_calibration_is_detected_at_the_next_run(
    qtbot: Any,
    photo_window: Window,
    tiny_model_folder: Path,
    calibrated_model_folder: Path,
    tmp_path: Path,
) -> None:
    viewer, panel = photo_window
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    choose_model(panel, folder, 3)
    run(qtbot, panel)
    write_card(folder, read_card(calibrated_model_folder))
    assert run(qtbot, panel) == "done"
    assert panel.form.confidence.enabled
    assert (panel.form.n_samples.value, panel.form.steps.value) == (3, 2)
    assert viewer.layers["a · confidence"].metadata[METADATA_KEY]["calibrated"] is True


def test_choosing_a_model_applies_its_settings(
    docked_panel: OpenPanel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = docked_panel()
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    with_sampling(folder, n_samples=500, steps=9, solver="heun", threshold=0.3, batch_size=2)
    panel.form.seed.value = 77
    panel.form.model.choose(folder)
    settings = panel.form.settings()
    assert (settings.steps, settings.solver, settings.seed) == (9, "heun", 77)
    assert (settings.threshold, settings.batch_size) == (0.3, 2)
    assert settings.n_samples == SAMPLE_SLIDER_MAX, "as many as the slider offers"
    panel.form.model.choose(tmp_path)
    assert panel.form.settings().solver == "heun", "no model there, nothing to take"


def test_unloading_releases_the_model_and_the_next_run_loads_it(
    qtbot: Any, photo_window: Window
) -> None:
    _, panel = photo_window
    panel.form.unload_button.native.click()
    assert panel.form.status.value == "No model was loaded."
    held: list[weakref.ref[Any]] = []
    load = panel.job.load

    def watched(*args: Any) -> Any:
        segmenter = load(*args)
        held.append(weakref.ref(segmenter))
        return segmenter

    panel.job.load = watched
    assert run(qtbot, panel) == "done"
    panel.form.unload_button.native.click()
    assert panel.form.status.value == "Model unloaded."
    gc.collect()
    assert held[0]() is None
    assert run(qtbot, panel) == "done"
    assert len(held) == 2


def test_a_model_in_use_is_not_unloaded(qtbot: Any, photo_window: Window) -> None:
    _, panel = photo_window
    segmenter = gate(panel)
    panel.form.run_button.native.click()
    assert not panel.form.unload_button.enabled
    panel.unload()
    assert "using the model" in panel.form.status.value
    panel.cancel()
    segmenter.allow(1)
    qtbot.waitUntil(lambda: not panel.running, timeout=PATIENCE)
