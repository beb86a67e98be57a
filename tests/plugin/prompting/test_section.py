"""Pointing at discs with a real mouse in a real window, with a model that was trained on discs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from latentfm_core.colours import label_colour
from latentfm_core.correction.strokes import FOREGROUND
from latentfm_core.prompts import Prompt
from napari_latentfm.layers.stacking import PROMPT_KEY, source_of
from napari_latentfm.prompting.object_list import SWATCH
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE
from tests.helpers.fixtures import copy_model, with_colours
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel
from tests.helpers.pointing import CTRL, SHIFT, Open, Pointer, disc_window, point
from tests.helpers.prompting import two_discs

Key = Qt.Key
__all__ = ["disc_window", "point"]


@pytest.fixture
def discs() -> tuple[np.ndarray, np.ndarray]:
    return two_discs(np.random.default_rng(21))


def test_successive_objects_get_separate_labels(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    window.answer_box(labels == 1)
    assert window.fits(labels == 1) > 0.85
    # The tool stays selected.
    layers = window.viewer.layers
    assert layers.selection.active.name == "a · prompt boxes"
    window.key(Key.Key_P)
    window.click_on(labels == 1)
    assert window.fits(labels == 1) > 0.85
    prompt = layers["a · mean mask"].metadata["latentfm"]["prompt"]
    assert set(prompt) == {"box", "positive"}
    first = window.shown().copy()
    window.key(Key.Key_M, SHIFT)
    window.settle()
    assert not layers["a · prompt boxes"].visible
    assert not layers["a · prompt points"].visible
    assert window.states == {1: "taken"}
    # The annotation is active, whose B would be napari's.
    window.key(Key.Key_B)
    assert not layers["a · annotation"].preserve_labels
    window.box(labels == 2)
    window.settle()
    assert window.fits(labels == 2) > 0.85
    assert window.states == {1: "taken", 2: "proposed"}
    window.key(Key.Key_M, SHIFT)
    taken = window.annotation()
    np.testing.assert_array_equal(taken == 1, first)
    assert (taken == 2).sum() > 100
    window.key(Key.Key_Z, CTRL)
    assert set(np.unique(window.annotation())) == {0, 1}
    window.settle()
    assert window.states == {1: "taken", 2: "proposed"}


def test_an_object_covers_another_only_on_request(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    for _ in range(2):
        window.answer_box(labels == 1)
        window.key(Key.Key_M, SHIFT)
        window.settle()
    assert set(np.unique(window.annotation())) == {0, 1}
    window.section.form.cover.setChecked(True)
    window.section.form.take_button.click()
    assert set(np.unique(window.annotation())) == {0, 2}


def test_a_new_object_keeps_the_first_as_an_outline_until_reselected(
    disc_window: Pointer,
) -> None:
    window, labels = disc_window, disc_window.labels
    window.answer_box(labels == 1)
    first = window.shown().copy()
    window.key(Key.Key_O, SHIFT)
    outline = window.viewer.layers["a · objects"]
    np.testing.assert_array_equal(outline.data == 1, first)
    assert not window.viewer.layers["a · mean mask"].visible
    window.box(labels == 2)
    window.settle()
    assert window.viewer.layers["a · mean mask"].visible
    assert window.fits(labels == 2) > 0.85
    assert window.states == {1: "proposed", 2: "proposed"}
    window.section.form.objects.chosen.emit(1)
    window.settle()
    np.testing.assert_array_equal(window.shown(), first)
    assert set(np.unique(outline.data)) == {0, 2}
    window.section.form.take_all_button.click()
    assert set(np.unique(window.annotation())) == {0, 1, 2}
    window.section.form.again_button.click()
    window.settle()
    assert window.fits(labels == 1) > 0.85
    window.section.form.delete_button.click()
    assert set(np.unique(window.annotation())) == {0, 2}
    assert list(window.states) == [2]
    window.settle()
    assert window.panel._session.current.label == 2
    assert window.status.startswith("Object 1 was removed. Ctrl+Z restores its pixels")


def test_marks_are_undone_and_cleared_and_a_stroke_refines(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    window.answer_box(labels == 1)
    with_box = window.shown().copy()
    window.key(Key.Key_P, SHIFT)
    window.click(4, 90)
    window.settle()
    points = window.viewer.layers["a · prompt points"]
    assert not points.features["positive"].iloc[0]
    window.key(Key.Key_Z, CTRL)
    window.settle()
    assert len(points.data) == 0
    np.testing.assert_array_equal(window.shown(), with_box)
    window.section.form.clear_button.click()
    assert len(window.viewer.layers["a · prompt boxes"].data) == 0
    assert window.panel._session.current is None
    window.section.form.undo_button.click()
    window.settle()
    np.testing.assert_array_equal(window.shown(), with_box)
    # A stroke refines the object.
    window.key(Key.Key_G)
    rows, columns = np.nonzero(labels == 1)
    window.drag((rows.mean() - 3, columns.mean()), (rows.mean() + 3, columns.mean()))
    window.settle()
    samples = window.samples
    assert samples.prompt["stroke_pixels"] == np.count_nonzero(samples.strokes == FOREGROUND) > 5
    assert "box" in samples.prompt
    # The next object begins without them.
    window.key(Key.Key_O, SHIFT)
    assert not window.viewer.layers["a · strokes"].data.any()


def test_the_last_prompt_wins(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    window.panel.form.steps.value = 40
    window.key(Key.Key_B)
    window.box(labels == 1)
    assert window.panel.running
    window.box(labels == 2)
    window.settle()
    assert window.endings[-1] == "done"
    assert window.endings.count("done") == 1
    assert window.fits(labels == 2) > 0.85
    assert len(window.viewer.layers["a · prompt boxes"].data) == 1


def test_clicks_and_marks_outside_are_reported(disc_window: Pointer) -> None:
    window = disc_window
    window.key(Key.Key_B)
    window.drag((30, 30), (30, 30))
    assert "Drag to draw a box" in window.status
    assert len(window.viewer.layers["a · prompt boxes"].data) == 0
    window.key(Key.Key_P)
    window.click(-5, 30)
    assert "outside 'a'" in window.status
    assert len(window.viewer.layers["a · prompt points"].data) == 0
    assert not window.endings
    window.key(Key.Key_B)
    window.drag((-6, -6), (40, 40))
    window.settle()
    (drawn,) = window.viewer.layers["a · prompt boxes"].data
    np.testing.assert_allclose(drawn.min(axis=0), (-0.5, -0.5))


def test_scaled_and_moved_image_in_millimetres(
    point: Open, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    image, labels = discs
    window = point(
        image[..., 0], scale=(0.2, 0.3), translate=(7, -3), rotate=20, units=("mm", "mm")
    )
    window.key(Key.Key_P)
    window.click_on(labels == 2)
    assert window.endings == ["done"]
    (clicked,) = window.samples.prompt["positive"]
    np.testing.assert_allclose(clicked, np.argwhere(labels == 2).mean(axis=0), atol=1.5)
    assert "mm²" in window.status


def test_a_mark_belongs_to_its_plane(point: Open, discs: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = discs
    window = point(np.stack([image] * 3), rgb=True)
    window.viewer.dims.set_point(0, 1)
    window.answer_box(labels == 1)
    assert window.fits(labels == 1, "a [1] · mean mask") > 0.85
    window.viewer.dims.set_point(window.viewer.dims.ndim - 3, 2)
    window.settle()
    assert window.states == {}
    # Nothing would be written to a hidden plane.
    assert window.panel._session.current is None
    window.box(labels == 2)
    window.settle()
    assert window.states == {2: "proposed"}
    assert window.fits(labels == 2, "a [2] · mean mask") > 0.85
    window.viewer.dims.set_point(window.viewer.dims.ndim - 3, 1)
    window.settle()
    assert window.states == {1: "proposed"}
    window.key(Key.Key_M, SHIFT)
    taken = window.annotation()
    assert taken[1].any()
    assert not taken[0].any()
    assert not taken[2].any()
    # Samples of the whole stack are shown again on planes without an object.
    window.panel.form.plane_choice.planes.value = "0"
    window.panel.run()
    window.settle()
    window.viewer.dims.set_point(window.viewer.dims.ndim - 3, 2)
    window.section.choose(2)
    window.settle()
    session = window.panel._session
    assert (session.current.label, session.stack) == (2, None)
    window.viewer.dims.set_point(window.viewer.dims.ndim - 3, 0)
    window.settle()
    assert session.stack is not None
    assert (session.current.label, session.current.plane.index[0]) == (None, 0)


def test_objects_are_written_on_their_plane_while_another_one_is_under_review(
    point: Open, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    image, labels = discs
    window = point(np.stack([image] * 2), rgb=True)

    def go_to(plane: int) -> None:
        window.viewer.dims.set_point(window.viewer.dims.ndim - 3, plane)
        window.settle()

    def review_first_plane() -> None:
        go_to(0)
        window.panel.run()
        window.settle()
        go_to(1)
        assert window.panel._session.current.plane.index[0] == 0

    go_to(1)
    window.key(Key.Key_B)
    window.box(labels == 1)
    window.settle()
    first = window.shown("a [1] · mean mask").copy()
    review_first_plane()
    window.section.form.take_all_button.click()
    window.settle()
    assert not window.annotation()[0].any()
    np.testing.assert_array_equal(window.annotation()[1] == 1, first)
    review_first_plane()
    window.viewer.layers["a · annotation"].data[0, :4] = 1
    window.section.form.delete_button.click()
    assert np.count_nonzero(window.annotation()[0]) == window.annotation()[0, :4].size
    assert not window.annotation()[1].any()
    window.key(Key.Key_Z, CTRL)
    np.testing.assert_array_equal(window.annotation()[1] == 1, first)


def test_a_model_without_prompts_suggests_a_promptable_one(
    disc_window: Pointer, tiny_model_folder: Path
) -> None:
    window, labels = disc_window, disc_window.labels
    promptable = window.panel.form.model.source()
    window.panel.form.model.choose(tiny_model_folder)
    window.key(Key.Key_B)
    notice = window.section.form.notice
    assert not notice.isHidden()
    assert "does not take boxes or points" in notice.text.text()
    assert "“Any object (box or points)” does" in notice.text.text()
    window.box(labels == 1)
    assert not window.endings
    assert "has no outline yet" in window.section.unanswered()
    # It waits for its own image: another one that needs a model gets no marks of it.
    window.viewer.add_image(window.layer.data, rgb=True, name="b")
    assert notice.isHidden()
    window.key(Key.Key_B)
    assert not notice.isHidden()
    window.panel.form.model.choose(promptable)
    window.settle()
    assert not window.endings
    window.panel.form.model.choose(tiny_model_folder)
    window.panel.form.image.value = window.layer
    assert "Click it in the section Point" in window.section.unanswered()
    window.key(Key.Key_B)
    notice.button.click()
    assert window.panel.form.model.source() == "generalist"
    assert notice.isHidden()
    # The drawing was not lost.
    window.settle()
    assert window.endings == ["done"]
    assert not window.section.unanswered()
    window.panel.form.model.box.setCurrentText(FOLDER_CHOICE)
    window.panel.form.model.folder.line.setText("")
    window.key(Key.Key_G)
    assert window.viewer.layers.selection.active.name == "a · strokes"
    window.panel.form.model.choose(promptable)


def cancel_box(window: Pointer, mask: np.ndarray) -> None:
    """Draw a box whose run is cancelled."""
    window.key(Key.Key_B)
    window.box(mask)
    window.section.cancel()
    window.settle()


def run_again(window: Pointer, mask: np.ndarray) -> None:
    """Check that the cancelled run of object 1 is caught up on, and once more when removed."""
    layers = window.viewer.layers
    window.section.choose(1)
    window.settle()
    assert not window.section.unanswered()
    assert window.fits(mask) > 0.85
    layers.remove("a · mean mask")
    assert "Press K" in window.section.unanswered()
    window.key(Key.Key_K)
    window.settle()
    assert layers["a · mean mask"].visible
    assert not window.section.unanswered()


def test_marks_whose_run_was_cancelled_have_no_outline(disc_window: Pointer) -> None:
    """The second box replaces one that had an outline."""
    window, labels = disc_window, disc_window.labels
    for label in (2, 1):
        cancel_box(window, labels == label)
        assert "Object 1 has no outline for its last mark" in window.section.unanswered()
        run_again(window, labels == label)


def test_marks_whose_run_was_cancelled_leave_the_samples_of_the_whole_image(
    disc_window: Pointer,
) -> None:
    window, labels = disc_window, disc_window.labels
    window.panel.run()
    window.settle()
    assert window.panel._session.current is not None
    cancel_box(window, labels == 2)
    window.section.form.undo_button.click()
    window.settle()
    assert window.panel._session.current is not None
    assert window.viewer.layers["a · mean mask"].visible, "accepting takes it"
    assert not window.section.unanswered()
    cancel_box(window, labels == 2)
    assert "Object 1 has no outline for its last mark" in window.section.unanswered()
    assert window.viewer.layers["a · mean mask"].visible, "it is still under review"
    run_again(window, labels == 2)


def test_a_labels_layer_becomes_a_rough_mask_or_strokes(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    window.viewer.add_labels((labels == 2).astype(np.uint8) * 3, name="rough").selected_label = 3
    window.section.form.labels_button.click()
    window.settle()
    assert window.samples.prompt == Prompt(mask=labels == 2).to_json()
    assert window.fits(labels == 2) > 0.85
    line = np.zeros(labels.shape, np.uint8)
    rows, columns = np.nonzero(labels == 1)
    line[int(rows.mean()), columns.min() : columns.max()] = 1
    window.section.tools.new_object()
    window.viewer.add_labels(line, name="line")
    window.section.form.labels_button.click()
    window.settle()
    assert set(window.samples.prompt) == {"stroke_pixels", "stroke_digest"}


def test_mark_layers_are_separate_and_recognised_after_reopening(
    disc_window: Pointer, tmp_path: Path
) -> None:
    window, labels = disc_window, disc_window.labels
    image = window.layer.data
    own_points = window.viewer.add_points([[1, 1]], name="mine")
    own_shapes = window.viewer.add_shapes(name="mine too")
    own_labels = window.viewer.add_labels(np.zeros(labels.shape, np.uint8), name="painted")
    window.key(Key.Key_B)
    # The user's own layer keeps napari's key.
    assert own_labels.preserve_labels
    window.section.form.tools["box"].click()
    window.box(labels == 1)
    window.settle()
    window.section.form.tools["point"].click()
    window.click_on(labels == 1)
    assert len(own_points.data) == 1
    assert len(own_shapes.data) == 0
    layers = window.viewer.layers
    marks = [x for x in layers if isinstance(x, (Points, Shapes)) and PROMPT_KEY in x.metadata]
    assert {source_of(x) for x in marks} == {str(window.layer.unique_id)}
    assert window.panel.form.image.choices == (window.layer,)
    paths = [str(tmp_path / f"{x.name}.csv") for x in marks]
    for layer, path in zip(marks, paths, strict=True):
        layer.save(path)
    drawn = [np.asarray(x.data) for x in marks]
    window.viewer.layers.remove(window.layer)
    window.qtbot.waitUntil(lambda: not set(marks) & set(layers), timeout=PATIENCE)
    window.layer = window.viewer.add_image(image, rgb=True, name="a")
    for path in paths:
        window.viewer.open(path, plugin="napari")
    window.section._review.show_current()
    assert list(window.states) == [1]
    again = [layers[x.name] for x in marks]
    for layer, before in zip(again, drawn, strict=True):
        np.testing.assert_allclose(np.asarray(layer.data), before)
        assert PROMPT_KEY in layer.metadata
    assert not any(isinstance(x, Labels) for x in again)


def test_accepting_takes_every_object_that_is_shown(disc_window: Pointer) -> None:
    window, labels = disc_window, disc_window.labels
    window.answer_box(labels == 1)
    window.key(Key.Key_O, SHIFT)
    window.box(labels == 2)
    window.settle()
    assert window.states == {1: "proposed", 2: "proposed"}
    window.section.take_pending()
    taken = window.annotation()
    assert set(np.unique(taken)) == {0, 1, 2}
    window.settle()
    # Deliberately erased pixels are not restored.
    window.viewer.layers["a · annotation"].data = np.where(taken == 1, 0, taken)
    window.section.take_pending()
    assert set(np.unique(window.annotation())) == {0, 2}


def test_objects_have_the_colours_of_their_labels(
    qtbot: Any,
    docked_panel: OpenPanel,
    promptable_model_folder: Path,
    discs: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    """The first has the colour of the class, in the list, as outline and in the annotation."""
    own = ("#d01c8b",)
    folder = with_colours(copy_model(promptable_model_folder, tmp_path / "own"), own)
    image, labels = discs
    viewer, panel = docked_panel(show=True)
    window = Pointer(qtbot, viewer, panel, folder, image, rgb=True)
    window.answer_box(labels == 1)
    window.key(Key.Key_O, SHIFT)
    window.box(labels == 2)
    window.settle()
    window.key(Key.Key_M, SHIFT)
    window.settle()
    outlines, annotation = (viewer.layers[f"a · {name}"] for name in ("objects", "annotation"))
    tree = window.section.form.objects
    for number in (1, 2):
        wanted = QColor(label_colour(number, own))
        for layer in (outlines, annotation):
            np.testing.assert_allclose(layer.get_color(number), wanted.getRgbF(), atol=0.01)
        icon = tree.topLevelItem(number - 1).icon(0).pixmap(SWATCH, SWATCH)
        assert icon.toImage().pixelColor(2, 2) == wanted
    assert label_colour(1, own) == own[0]
