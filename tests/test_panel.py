"""The panel in a real napari window, with a real model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QSlider

from latentfm_core.config import SAMPLE_SLIDER_MAX, SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.store.bundled import bundled_models, resolve_model
from latentfm_core.store.card import read_card, write_card
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.layers import METADATA_KEY
from napari_latentfm.placing import EditedLayers, digest
from napari_latentfm.widgets.choices import FOLDER_CHOICE, bundled_names
from napari_latentfm.widgets.sampling_panel import SamplingPanel
from tests.fixtures import copy_model
from tests.plugin_fixtures import BEFORE_0_7, DOCK, PATIENCE, assert_idle, gate, run

Open = Callable[..., tuple[Any, SamplingPanel]]


def _errors() -> list[str]:
    return [str(r.message) for r in notification_manager.records if str(r.severity) == "error"]


@pytest.fixture(autouse=True)
def _forget_notifications() -> None:
    notification_manager.records.clear()


def _state(viewer: Any) -> dict[str, tuple[str, str]]:
    return {x.name: (str(x.unique_id), digest(x.data)) for x in viewer.layers}


# --- a run --------------------------------------------------------------------------------


def test_run_makes_four_layers_on_the_image(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    affine = np.array([[1, 0.1, 5], [0, 1, -2], [0, 0, 1]])
    space = {"scale": (0.5, 0.25), "rotate": 20.0, "affine": affine, "units": ("um", "um")}
    source = viewer.add_image(blob_image, rgb=True, name="skin", **space)
    assert run(qtbot, panel) == "done"
    assert [layer.name for layer in viewer.layers] == [
        "skin",
        "skin · mean probability",
        "skin · confidence",
        "skin · samples",
        "skin · mean mask",
    ]
    assert viewer.layers["skin · samples"].data.shape == (3, 60, 80)
    if not BEFORE_0_7:  # its sliders have no names
        assert viewer.dims.axis_labels[0] == "sample"
    for layer in list(viewer.layers)[1:]:
        wanted = source.data_to_world((7, 9))
        np.testing.assert_allclose(layer.data_to_world((0, 7, 9))[-2:], wanted)
        assert tuple(layer.units[-2:]) == tuple(source.units)
    assert_idle(panel)
    assert panel.last_error is None
    assert _errors() == []


def test_mask_finds_the_disc(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="skin")
    assert run(qtbot, panel) == "done"
    mask = viewer.layers["skin · mean mask"].data
    assert mask[30, 40] == 1
    assert mask[2, 2] == 0


def test_equal_seed_equals_python(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, tiny_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    form = panel.form
    form.n_samples.value, form.steps.value, form.seed.value = 4, 3, 11
    form.solver.value = "heun"
    run(qtbot, panel)
    settings = SamplingConfig(n_samples=4, steps=3, seed=11, solver="heun", device="cpu")
    wanted = summarise(
        Segmenter.load(tiny_model_folder, "cpu").sample(ImageInput(blob_image), settings)
    )
    np.testing.assert_array_equal(viewer.layers["a · samples"].data, wanted.sample_masks)
    np.testing.assert_array_equal(viewer.layers["a · confidence"].data, wanted.confidence)
    assert viewer.layers["a · samples"].metadata[METADATA_KEY]["settings"]["solver"] == "heun"


def test_resolved_device_is_shown(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True)
    run(qtbot, panel)
    assert "CPU" in panel.form.device_label.value


def test_plane_of_a_stack(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    stack = np.full((4, *blob_image.shape), 255, np.uint8)
    stack[2] = blob_image
    source = viewer.add_image(stack, rgb=True, scale=(3, 1, 1), name="stack")
    viewer.dims.set_current_step(0, 2)
    assert run(qtbot, panel) == "done"
    mask = viewer.layers["stack [2] · mean mask"]
    np.testing.assert_allclose(mask.data_to_world((0, 1, 1)), source.data_to_world((2, 1, 1)))
    assert mask.data[0, 30, 40] == 1


# --- reruns -------------------------------------------------------------------------------


def test_rerun_updates_the_layers(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    run(qtbot, panel)
    before = [layer.unique_id for layer in viewer.layers]
    panel.form.n_samples.value = 5
    assert run(qtbot, panel) == "done"
    assert [layer.unique_id for layer in viewer.layers] == before
    assert viewer.layers["a · samples"].data.shape == (5, 60, 80)


@pytest.mark.parametrize(
    ("button", "ending", "layers", "kept"),
    [
        ("Keep my edits, add a new layer", "done", 6, True),
        ("Overwrite my edits", "done", 5, False),
        ("Cancel", "cancelled", 5, True),
        (None, "cancelled", 5, True),
    ],
)
def test_edited_layer_is_asked_about_on_screen(
    qtbot: Any,
    docked_panel: Open,
    blob_image: np.ndarray,
    button: str | None,
    ending: str,
    layers: int,
    kept: bool,
) -> None:
    """The real question is answered by a click, and (None) by Escape."""
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    run(qtbot, panel)
    mine = viewer.layers["a · mean mask"]
    mine.fill((0, 0), 3)
    edited = mine.data.copy()
    questions: list[str] = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, answer)
            return
        questions.append(box.informativeText())
        if button is None:
            qtbot.keyClick(box, Qt.Key.Key_Escape)
        else:
            next(b for b in box.buttons() if b.text() == button).click()

    QTimer.singleShot(20, answer)
    panel.form.seed.value = 8
    assert run(qtbot, panel) == ending
    assert questions == ["a · mean mask"]
    assert len(viewer.layers) == layers
    assert np.array_equal(mine.data, edited) is kept
    assert_idle(panel)


def test_undo_key_after_a_rerun(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel(show=True)
    viewer.add_image(blob_image, rgb=True, name="a")
    run(qtbot, panel)
    samples = viewer.layers["a · samples"]
    samples.fill((0, 0, 0), 9)
    panel.ask_about_edits = lambda names: EditedLayers.OVERWRITE
    panel.form.n_samples.value = 2
    run(qtbot, panel)
    written = samples.data.copy()
    viewer.layers.selection.active = samples
    canvas = viewer.__wrapped__.window._qt_window
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    samples.undo()
    np.testing.assert_array_equal(samples.data, written)


# --- cancel and errors --------------------------------------------------------------------


def test_cancel_leaves_the_viewer_as_it_was(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    run(qtbot, panel)
    before = _state(viewer)
    slow = gate(panel)
    # The warm model would be used instead of the slow one.
    panel.form.device.value = "auto"
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(2)
    qtbot.waitUntil(lambda: panel.form.status.value == "ODE step 2 of 50", timeout=PATIENCE)
    assert panel.form.progress.native.value() == 2
    assert not panel.form.n_samples.enabled
    panel.form.cancel_button.native.click()
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert slow.done <= 3
    assert _state(viewer) == before
    assert_idle(panel)


def test_failing_run_notifies_and_leaves_the_panel_idle(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    failing = gate(panel, error=MemoryError())
    failing.allow(1)
    assert run(qtbot, panel) == "failed"
    assert_idle(panel)
    assert "Lower the number of samples" in str(panel.last_error)
    assert _errors() == [panel.last_error]
    assert panel.form.status.value == panel.last_error
    assert len(viewer.layers) == 1


def test_bad_model_folder(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, tmp_path: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True)
    panel.form.folder.value = tmp_path
    assert run(qtbot, panel) == "failed"
    assert "model.json" in str(panel.last_error)
    assert _errors() == [panel.last_error]
    assert_idle(panel)


def test_no_model_folder(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True)
    panel.form.folder.line_edit.value = " "
    assert run(qtbot, panel) == "failed"
    assert "Choose the folder" in str(panel.last_error)


def test_no_image(qtbot: Any, docked_panel: Open) -> None:
    _, panel = docked_panel()
    assert "Open an image first" in panel.form.status.value
    assert run(qtbot, panel) == "failed"
    assert "Open an image first" in str(panel.last_error)
    assert_idle(panel)


@pytest.mark.parametrize(
    "pixels",
    [np.full((40, 40), np.nan), np.zeros((40, 40, 4, 2, 2)), np.full((1, 1), 3)],
    ids=["NaN", "5D of 2 columns", "one pixel"],
)
def test_odd_images_end_in_a_result_or_a_message(
    qtbot: Any, docked_panel: Open, pixels: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(pixels, contrast_limits=(0, 1), rgb=False)
    ending = run(qtbot, panel)
    assert ending in ("done", "failed")
    if ending == "failed":
        assert "defect" not in str(panel.last_error)
    assert_idle(panel)


def test_three_dimensional_display(qtbot: Any, docked_panel: Open) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(np.zeros((4, 40, 40), np.uint8))
    viewer.dims.ndisplay = 3
    assert run(qtbot, panel) == "failed"
    assert "2D display" in str(panel.last_error)


def test_error_then_success(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    assert run(qtbot, panel) == "failed"
    viewer.add_image(blob_image, rgb=True)
    assert panel.form.image.value is not None
    assert run(qtbot, panel) == "done"
    assert panel.last_error is None


# --- what happens around a run ------------------------------------------------------------


def test_removing_the_image_stops_its_run(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    viewer.add_image(blob_image, rgb=True, name="b")
    panel.form.image.value = viewer.layers["a"].__wrapped__
    slow = gate(panel)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    viewer.layers.remove("a")
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert slow.done <= 2
    assert [layer.name for layer in viewer.layers] == ["b"]
    assert_idle(panel)


def test_image_that_changed_size_gets_no_old_result(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    layer = viewer.add_image(blob_image, rgb=True, name="a")
    slow = gate(panel, total=2)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    layer.data = blob_image[:20, :20]
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["failed"]
    assert "changed during the run" in str(panel.last_error)
    assert len(viewer.layers) == 1


def test_closing_the_dock_cancels(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    slow = gate(panel)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    job = panel.job
    viewer.window.remove_dock_widget(panel)
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert slow.done <= 2
    assert slow.closed.is_set()
    assert len(viewer.layers) == 1
    assert_idle(panel)


def test_hiding_the_dock_does_not_cancel(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    slow = gate(panel, total=3)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(1)
    panel.parent().hide()
    slow.allow(2)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]


def test_closing_the_window_cancels(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    slow = gate(panel)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    job = panel.job
    viewer.close()
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    qtbot.wait(50)
    assert slow.done <= 2
    assert _errors() == []


def test_deleting_the_panel_cancels(qtbot: Any, docked_panel: Open, blob_image: np.ndarray) -> None:
    """Without napari's own help: an older napari does not know of the worker."""
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    slow = gate(panel)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    job = panel.job
    gone: list[bool] = []
    panel.destroyed.connect(lambda: gone.append(True))
    panel.deleteLater()
    qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert slow.done <= 2


def test_model_stays_warm_when_the_panel_is_opened_again(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, tiny_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    run(qtbot, panel)
    viewer.window.remove_dock_widget(panel)
    again = SamplingPanel(viewer)
    viewer.window.add_dock_widget(again, name=DOCK)
    again.form.model.value, again.form.folder.value = FOLDER_CHOICE, tiny_model_folder
    again.form.device.value = "cpu"
    again.job.load = lambda *_: pytest.fail("loaded again")
    assert run(qtbot, again) == "done"


# --- the controls -------------------------------------------------------------------------


def test_defaults_and_bounds_are_those_of_the_configuration(
    make_napari_viewer_proxy: Any,
) -> None:
    form = SamplingPanel(make_napari_viewer_proxy()).form
    # Those of the model that is chosen first, and the usual ones where it says nothing.
    card = read_card(resolve_model(bundled_models()[0]))
    calibrated = card.calibration is not None
    wanted = card.config.sampling.model_copy(update={"device": "auto", "calibrated": calibrated})
    assert form.settings() == wanted
    assert form.seed.value == SamplingConfig().seed
    assert (form.n_samples.min, form.n_samples.max) == (1, SAMPLE_SLIDER_MAX)
    assert (form.steps.min, form.steps.max) == (1, 1000)
    assert (form.seed.min, form.seed.max) == (0, 2**31 - 1)
    form.seed.value = 2**31 - 1
    form.n_samples.value = SAMPLE_SLIDER_MAX
    assert form.settings().seed == 2**31 - 1


def test_sample_slider_answers_to_the_keyboard(qtbot: Any, docked_panel: Open) -> None:
    _, panel = docked_panel(show=True)
    slider = panel.form.n_samples
    native = slider.native.findChild(QSlider)
    qtbot.keyClick(native, Qt.Key.Key_Right)
    assert slider.value == 4
    assert panel.form.sample_count.value == "4"
    qtbot.keyClick(native, Qt.Key.Key_End)
    assert slider.value == SAMPLE_SLIDER_MAX
    qtbot.keyClick(native, Qt.Key.Key_Home)
    assert (slider.value, panel.form.sample_count.value) == (1, "1")


def test_every_control_explains_itself(docked_panel: Open) -> None:
    _, panel = docked_panel()
    form = panel.form
    for name in (
        "image",
        "model",
        "folder",
        "n_samples",
        "steps",
        "solver",
        "seed",
        "device",
        "confidence",
    ):
        assert getattr(form, name).tooltip, name
    assert form.run_button.tooltip
    assert form.cancel_button.tooltip
    assert form.disclaimer.value == "Research use only; not a medical device."


def test_bundled_models_are_offered(docked_panel: Open) -> None:
    _, panel = docked_panel()
    assert bundled_names() == bundled_models()
    assert list(panel.form.model.choices) == [*bundled_models(), FOLDER_CHOICE]


def test_folder_row_is_shown_only_when_it_is_used(qtbot: Any, docked_panel: Open) -> None:
    _, panel = docked_panel(show=True)
    qtbot.waitUntil(lambda: panel.form.folder.visible, timeout=PATIENCE)
    panel.form.model.value = bundled_models()[0]
    assert not panel.form.folder.visible
    assert panel.form.model_source() == bundled_models()[0]


def test_image_box_offers_images_and_follows_the_viewer(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    box = panel.form.image
    viewer.add_labels(np.zeros((60, 80), int), name="labels")
    first = viewer.add_image(blob_image, rgb=True, name="a")
    viewer.add_image(blob_image[:, :, 0], name="b")
    assert [layer.name for layer in box.choices] == ["a", "b"]
    assert box.value.name == "b"
    viewer.layers.selection.active = first
    assert box.value.name == "a"
    first.name = "renamed"
    assert (box.value.name, box.current_choice) == ("renamed", "renamed")
    run(qtbot, panel)
    # Results are images, too, but nobody wants to segment them.
    assert sorted(layer.name for layer in box.choices) == ["b", "renamed"]
    assert box.value.name == "renamed"
    viewer.layers.remove("renamed")
    assert box.value.name == "b"


def test_panel_fits_a_small_screen(docked_panel: Open) -> None:
    viewer, panel = docked_panel(show=True)
    viewer.window.resize(1280, 720)
    QApplication.processEvents()
    assert panel.window().height() <= 720
    assert panel.horizontalScrollBar().maximum() == 0
    assert panel.width() < 450


# --- confidence, raw or calibrated ---------------------------------------------------------


def _choose(panel: SamplingPanel, folder: Path) -> None:
    panel.form.folder.value = folder
    panel.form.n_samples.value = 3
    panel.form.steps.value = 2


def test_confidence_of_a_calibrated_model_equals_python(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, calibrated_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    _choose(panel, calibrated_model_folder)
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


def test_raw_and_calibrated_change_the_maps_without_new_samples(
    qtbot: Any,
    docked_panel: Open,
    blob_image: np.ndarray,
    calibrated_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    _choose(panel, calibrated_model_folder)
    run(qtbot, panel)
    mine = viewer.layers["a · mean mask"]
    mine.fill((0, 0), 3)
    before = _state(viewer)
    # The samples are there, and a correction of the mask is nobody's business.
    monkeypatch.setattr(Segmenter, "sample_steps", lambda *_: pytest.fail("sampled again"))
    panel.ask_about_edits = lambda names: pytest.fail(f"asked about {names}")
    panel.form.n_samples.value = 7
    for choice, calibrated in (("raw", False), ("calibrated", True)):
        endings: list[str] = []
        panel.finished.connect(endings.append)
        panel.form.confidence.value = choice
        qtbot.waitUntil(lambda seen=endings: bool(seen), timeout=PATIENCE)
        panel.finished.disconnect(endings.append)
        assert endings == ["done"]
        for role in ("confidence", "mean probability"):
            metadata = viewer.layers[f"a · {role}"].metadata[METADATA_KEY]
            assert metadata["calibrated"] is calibrated
            assert metadata["n_samples"] == 3
        changed = {name for name, state in _state(viewer).items() if state != before[name]}
        wanted = set() if calibrated else {"a · confidence", "a · mean probability"}
        assert changed == wanted
        assert f"Confidence: {choice}." in panel.form.status.value
        assert_idle(panel)
        assert panel.form.confidence.enabled


def test_a_model_without_calibration_offers_no_choice(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray, calibrated_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    confidence = panel.form.confidence
    assert (confidence.enabled, confidence.value) == (False, "raw")
    assert "latentfm-calibrate" in confidence.tooltip
    assert run(qtbot, panel) == "done"
    assert not confidence.enabled
    assert "Confidence: raw." in panel.form.status.value
    # Another model starts no work on the samples of this one.
    panel.form.folder.value = calibrated_model_folder
    assert (confidence.enabled, confidence.value) == (True, "calibrated")
    assert "latentfm-calibrate" not in confidence.tooltip
    assert_idle(panel)


def test_model_that_is_calibrated_meanwhile(
    qtbot: Any,
    docked_panel: Open,
    blob_image: np.ndarray,
    tiny_model_folder: Path,
    calibrated_model_folder: Path,
    tmp_path: Path,
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    _choose(panel, folder)
    run(qtbot, panel)
    write_card(folder, read_card(calibrated_model_folder))
    assert run(qtbot, panel) == "done"
    assert panel.form.confidence.enabled
    assert (panel.form.n_samples.value, panel.form.steps.value) == (3, 2)
    assert viewer.layers["a · confidence"].metadata[METADATA_KEY]["calibrated"] is True


def test_choosing_a_model_takes_its_settings(
    docked_panel: Open, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = docked_panel()
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    card = read_card(folder)
    own = {"n_samples": 500, "steps": 9, "solver": "heun", "threshold": 0.3, "batch_size": 2}
    sampling = card.config.sampling.model_copy(update=own)
    config = card.config.model_copy(update={"sampling": sampling})
    write_card(folder, card.model_copy(update={"config": config}))
    panel.form.seed.value = 77
    panel.form.folder.value = folder
    settings = panel.form.settings()
    assert (settings.steps, settings.solver, settings.seed) == (9, "heun", 77)
    assert (settings.threshold, settings.batch_size) == (0.3, 2)
    assert settings.n_samples == SAMPLE_SLIDER_MAX, "as many as the slider offers"
    panel.form.folder.value = tmp_path
    assert panel.form.settings().solver == "heun", "no model there, nothing to take"


def test_unload_gives_the_model_back_and_the_next_run_loads_it_again(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True)
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


def test_a_model_in_use_is_not_unloaded(
    qtbot: Any, docked_panel: Open, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True)
    segmenter = gate(panel)
    panel.form.run_button.native.click()
    assert not panel.form.unload_button.enabled
    panel.unload()
    assert "using the model" in panel.form.status.value
    panel.cancel()
    segmenter.allow(1)
    qtbot.waitUntil(lambda: not panel.running, timeout=PATIENCE)
