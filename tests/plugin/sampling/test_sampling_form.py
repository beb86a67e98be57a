"""The controls of the sampling panel."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QSlider

from latentfm_core.config import SAMPLE_SLIDER_MAX, SamplingConfig
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.card import read_card
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE, models_folder
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel, docked, run


def test_defaults_and_bounds_are_those_of_the_configuration(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    form = docked(viewer, SamplingPanel(viewer)).form
    # Those of the first model, and the defaults for what its card does not set.
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


def test_a_model_in_place_of_one_with_few_steps_takes_the_steps_of_a_flow(
    docked_panel: OpenPanel,
) -> None:
    _, panel = docked_panel()
    form = panel.form
    form.model.choose("generalist")
    form.steps.value = 1
    assert form.settings().steps == 1
    # As for an image of a list whose adapted model is used: it has no network for few steps.
    form.stand_in = lambda _: "polyp"
    form.refresh_card()
    assert form.settings().steps is None, "as on its card"
    form.solver.value = "midpoint"
    assert form.settings().steps == 1, "the chosen model would have taken one step of its flow"


def test_the_sample_slider_responds_to_the_keyboard(qtbot: Any, docked_panel: OpenPanel) -> None:
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


def test_every_control_has_a_tooltip(docked_panel: OpenPanel) -> None:
    _, panel = docked_panel()
    form = panel.form
    for name in (
        "image",
        "n_samples",
        "steps",
        "solver",
        "seed",
        "device",
        "confidence",
    ):
        assert getattr(form, name).tooltip, name
    assert form.model.box.toolTip()
    assert form.model.folder.line.toolTip()
    assert form.run_button.tooltip
    assert form.cancel_button.tooltip
    assert form.disclaimer.value == "Research use only; not a medical device."


def test_bundled_models_are_offered(docked_panel: OpenPanel) -> None:
    _, panel = docked_panel()
    box = panel.form.model.box
    names = [box.itemData(place) for place in range(box.count())]
    assert names == [*bundled_models(), FOLDER_CHOICE]


def test_folder_row_is_shown_only_when_it_is_used(qtbot: Any, docked_panel: OpenPanel) -> None:
    _, panel = docked_panel(show=True)
    qtbot.waitUntil(panel.form.model.folder.isVisible, timeout=PATIENCE)
    panel.form.model.choose(bundled_models()[0])
    assert not panel.form.model.folder.isVisible()
    assert panel.form.model_source() == bundled_models()[0]


def test_the_image_choice_lists_images_and_follows_the_viewer(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
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
    # Results are images, too, but are not offered.
    assert sorted(layer.name for layer in box.choices) == ["b", "renamed"]
    assert box.value.name == "renamed"
    viewer.layers.remove("renamed")
    assert box.value.name == "b"


@pytest.mark.styled
def test_panel_fits_a_small_screen(docked_panel: OpenPanel) -> None:
    viewer, panel = docked_panel(show=True)
    viewer.window.resize(1280, 720)
    QApplication.processEvents()
    assert panel.window().height() <= 720
    assert panel.horizontalScrollBar().maximum() == 0
    assert panel.width() < 450


def test_a_model_that_was_learned_is_offered_and_chosen(
    docked_panel: OpenPanel, tiny_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    chooser = panel.form.model
    learned = models_folder() / "mine"
    shutil.copytree(tiny_model_folder, learned)
    session_of(viewer).model_kept.emit(learned)
    assert (chooser.box.currentText(), chooser.source()) == ("mine", learned)
    assert not chooser.folder.isVisibleTo(chooser)
    chooser.choose("isic2018")
    assert chooser.source() == "isic2018"
    # The choice is restored while the model exists.
    chooser.restore({"model": str(learned)})
    assert chooser.source() == learned
    chooser.choose("isic2018")
    shutil.rmtree(learned)
    chooser.refresh()
    chooser.restore({"model": str(learned)})
    assert chooser.source() == "isic2018"
