"""The sampling panel in a real window with a real model: runs and reruns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.layers.edits import EditedLayers
from napari_latentfm.layers.specs import METADATA_KEY
from tests.helpers.plugin_fixtures import (
    BEFORE_0_7,
    OpenPanel,
    Window,
    assert_idle,
    run,
    shown_errors,
)

pytestmark = pytest.mark.usefixtures("forget_notifications")


# --- a run --------------------------------------------------------------------------------


def test_run_makes_four_layers_on_the_image(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
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
    assert shown_errors() == []


def test_the_mean_mask_finds_the_disc_and_a_rerun_updates_it(
    qtbot: Any, photo_window: Window
) -> None:
    viewer, panel = photo_window
    assert run(qtbot, panel) == "done"
    mask = viewer.layers["a · mean mask"].data
    assert mask[30, 40] == 1
    assert mask[2, 2] == 0
    assert "CPU" in panel.form.device_label.value, "the resolved device is shown"
    before = [layer.unique_id for layer in viewer.layers]
    panel.form.n_samples.value = 5
    assert run(qtbot, panel) == "done"
    assert [layer.unique_id for layer in viewer.layers] == before
    assert viewer.layers["a · samples"].data.shape == (5, 60, 80)


def test_equal_seed_equals_python(
    qtbot: Any, photo_window: Window, blob_image: np.ndarray, tiny_model_folder: Path
) -> None:
    viewer, panel = photo_window
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


def test_plane_of_a_stack(qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray) -> None:
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


def test_an_edited_layer_prompts_a_question(qtbot: Any, photo_window: Window) -> None:
    """The real question is answered by a click, and (None) by Escape."""
    viewer, panel = photo_window
    run(qtbot, panel)
    mine = viewer.layers["a · mean mask"]
    answers: list[tuple[str | None, str, int, bool]] = [
        ("Cancel", "cancelled", 5, True),
        (None, "cancelled", 5, True),
        ("Overwrite my edits", "done", 5, False),
        ("Keep my edits, add a new layer", "done", 6, True),
    ]
    for seed, (button, ending, layers, kept) in enumerate(answers, 8):
        mine.fill((0, 0), 3 + seed)
        edited = mine.data.copy()
        questions = answer_once(qtbot, button)
        panel.form.seed.value = seed
        assert run(qtbot, panel) == ending
        assert questions == ["a · mean mask"]
        assert len(viewer.layers) == layers
        assert np.array_equal(mine.data, edited) is kept
        assert_idle(panel)


def answer_once(qtbot: Any, button: str | None) -> list[str]:
    """Answer the next question by a button or Escape; return the list that receives its text."""
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
    return questions


def test_undo_key_after_a_rerun(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
) -> None:
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
    canvas = viewer.__wrapped__.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    samples.undo()
    np.testing.assert_array_equal(samples.data, written)
