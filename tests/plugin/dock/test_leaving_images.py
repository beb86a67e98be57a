"""Leaving and accepting an image whose proposals are not all in the annotation."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

from latentfm_core.annotation.export import sidecar_path
from latentfm_core.correction.strokes import FOREGROUND
from latentfm_core.prompts.field import extent
from latentfm_core.worklist.accepted import export_accepted
from latentfm_core.worklist.classes import add_classes
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.camera import camera_of
from napari_latentfm.preferences import data_folder
from napari_latentfm.prompting import cutting
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE
from tests.helpers.plugin_fixtures import PATIENCE
from tests.plugin.dock.conftest import NAMES, Bench


@pytest.fixture
def pointing(bench: Bench, promptable_model_folder: Path) -> Bench:
    """The folder, with a model that takes prompts."""
    bench.panel.sampling.form.model.choose(promptable_model_folder)
    bench.panel.tabs.setCurrentWidget(bench.panel.annotate)
    return bench


@pytest.fixture
def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept objects that overlap much without a question: those of the small model do."""
    monkeypatch.setattr(cutting, "ASK_ABOVE", 1.0)


def boxed(bench: Bench, *corners: float) -> None:
    """Draw boxes on the open image, each for a separate object, and wait for the outlines."""
    panel = bench.panel
    for number, corner in enumerate(corners, 1):
        bench.press(bench.canvas, Qt.Key.Key_B)
        if number > 1:
            panel.point.tools.new_object()
        boxes = bench.viewer.layers.selection.active
        boxes.add_rectangles(np.array([[corner, corner], [corner + 20, corner + 20]]))
        outlined(bench, number)


def taken(bench: Bench) -> Any:
    """Draw a box, take its outline, and return the list of objects."""
    boxed(bench, 5.0)
    form = bench.panel.point.form
    bench.click(form.take_all_button)
    rows = form.objects
    bench.qtbot.waitUntil(lambda: rows.rows[0].state == "taken", timeout=PATIENCE)
    return rows


def outlined(bench: Bench, count: int) -> None:
    """Wait until a number of objects have an outline."""
    form = bench.panel.point.form

    def are_outlined() -> bool:
        states = [row.state for row in form.objects.rows]
        return states == ["proposed"] * count and not bench.panel.point._runner.busy

    bench.qtbot.waitUntil(are_outlined, timeout=PATIENCE)


@pytest.mark.usefixtures("overlapping")
def test_objects_that_were_not_accepted_are_restored_with_their_image(pointing: Bench) -> None:
    bench, panel = pointing, pointing.panel
    boxed(bench, 5.0, 35.0)
    before = [one.prompt for one in panel.point._book.all(bench.layer)]
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    assert "2 objects were not taken" in panel.footer.message.text()
    assert not panel.point.form.objects.rows
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    outlined(bench, 2)
    assert [one.prompt for one in panel.point._book.all(bench.layer)] == before
    assert "not taken" not in panel.footer.message.text()
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert panel.footer.message.text().startswith(f"{NAMES[0]} is done, 1 of 3.")
    assert set(np.unique(tifffile.imread(bench.file(NAMES[0])))) == {0, 1, 2}


@pytest.mark.usefixtures("overlapping")
def test_a_closed_dock_gives_everything_back(pointing: Bench) -> None:
    bench, panel = pointing, pointing.panel
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    boxed(bench, 5.0, 35.0)
    panel.point._book.all(bench.layer)[0].name = "nevus"
    bench.qtbot.keyClicks(panel.footer.note, "blurred")
    panel.tabs.setCurrentWidget(panel.learning)
    panel.sections["Fix"].set_opened(True)

    def state(dock: LatentFMPanel) -> tuple[Any, ...]:
        form, opened = dock.sampling.form, [s for s, each in dock.sections.items() if each.opened]
        objects = dock.point._book.all(bench.layer)
        return (
            [(one.number, one.name, one.prompt.box, one.answered) for one in objects],
            [row.state for row in dock.point.form.objects.rows],
            (form.model.source(), form.n_samples.value, form.steps.value),
            (dock.tabs.currentIndex(), opened, dock.queue.current, dock.footer.note.text()),
            [(layer.name, layer.visible, layer.mode) for layer in bench.viewer.layers],
        )

    before = state(panel)
    assert before[1] == ["proposed", "proposed"]
    dock: Any = panel.parentWidget()
    bench.qtbot.mouseClick(dock.titleBarWidget().close_button, Qt.MouseButton.LeftButton)
    bench.qtbot.waitUntil(lambda: not bench.viewer.keymap, timeout=PATIENCE)
    assert bench.item(NAMES[1]).note == "blurred"
    again = open_dock(bench.viewer)
    assert again.isVisible()
    assert state(again) == before
    bench.click(again.footer.accept)
    bench.wait_for(NAMES[2])
    assert set(np.unique(tifffile.imread(bench.file(NAMES[1])))) == {0, 1, 2}


def test_an_open_image_removed_by_hand_is_opened_again(pointing: Bench) -> None:
    bench, panel, layers = pointing, pointing.panel, pointing.viewer.layers
    message = panel.footer.message
    boxed(bench, 35.0)
    bench.annotate()
    painted = layers["blob_000 · annotation"]
    bench.click(panel.footer.accept_empty)
    assert "are marked in this image. Press" in panel.footer.notice.text
    layers.remove(bench.layer)
    bench.qtbot.waitUntil(lambda: "was removed" in message.text(), timeout=PATIENCE)
    assert list(layers) == [painted]
    assert "'blob_000 · annotation' stays there, since it holds your work." in message.text()
    # Nothing is left of the image: no question, no object, no result.
    form, progress = panel.point.form, panel.sampling.form.progress.native
    bench.qtbot.waitUntil(lambda: not form.objects.rows, timeout=PATIENCE)
    assert form.status.text().startswith("Drag a box around an object")
    assert (panel.footer.notice.text, progress.text()) == ("", "")
    for button in (panel.footer.accept, panel.footer.accept_empty):
        panel.footer.clear()
        bench.click(button)
        assert message.text().startswith(f"{NAMES[0]} was removed from the layer list. Double-")
    assert bench.item(NAMES[0]).state == "not started"
    bench.shown.clear()
    panel.queue.form.table.chosen.emit(NAMES[0])
    bench.wait_for(NAMES[0])
    assert painted not in layers
    again = layers["blob_000 · annotation"]
    assert again.data[:9, :9].all()


def test_marks_are_restored_after_the_window_was_closed(
    pointing: Bench, opened: Callable[..., Any], promptable_model_folder: Path
) -> None:
    """The first object was taken, and the other one was not."""
    bench, panel = pointing, pointing.panel
    rows = taken(bench)
    bench.press(bench.canvas, Qt.Key.Key_B)
    boxes = bench.viewer.layers.selection.active
    boxes.add_rectangles(np.array([[35.0, 35.0], [55.0, 55.0]]))
    bench.qtbot.waitUntil(
        lambda: [row.state for row in rows.rows] == ["taken", "proposed"], timeout=PATIENCE
    )
    bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    bench.press(bench.canvas, Qt.Key.Key_P)
    bench.viewer.layers.selection.active.add([[42.0, 44.0]])
    bench.qtbot.waitUntil(
        lambda: bool(panel.point._book.all(bench.layer)[1].prompt.positive), timeout=PATIENCE
    )
    bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    before = panel.point._book.all(bench.layer)[1].prompt
    bench.viewer.window._qt_window.hide()  # what a closing window does first
    viewer, again = opened(show=True)
    again.sampling.form.model.choose(promptable_model_folder)
    later = Bench(viewer, again, bench.folder, bench.qtbot)
    bench.qtbot.waitUntil(lambda: again.point.has_objects(later.layer), timeout=PATIENCE)
    (one,) = again.point._book.all(later.layer)
    assert (one.number, one.prompt.box, one.prompt.positive) == (2, before.box, before.positive)
    bench.qtbot.waitUntil(lambda: one.answered, timeout=PATIENCE)
    bench.qtbot.waitUntil(lambda: not again.point._runner.busy, timeout=PATIENCE)
    # The first object is offered for recovery, and not lost by Enter.
    for accept in (
        partial(later.press, later.canvas),
        again.queue.accept,
        again.queue.accept_empty,
    ):
        again.footer.clear()
        accept()
        assert "Recover, compare or discard it first" in again.footer.message.text()
    again.queue.autosave.recovery.answer("recover")
    later.press(later.canvas)
    assert "pixels in the outline of object 2 have other labels" in again.footer.message.text()
    later.press(later.canvas)
    later.wait_for(NAMES[1])
    assert set(np.unique(tifffile.imread(bench.file(NAMES[0])))) == {0, 1, 2}
    bench.qtbot.waitUntil(lambda: not list((data_folder() / "marks").glob("*")), timeout=PATIENCE)


def test_outlined_objects_are_deleted_or_refined_before_their_image_is_accepted(
    pointing: Bench,
) -> None:
    bench, panel, footer = pointing, pointing.panel, pointing.panel.footer
    # No object asks once more where one is outlined.
    boxed(bench, 5.0)
    bench.click(footer.accept_empty)
    assert "1 object is outlined in this image" in footer.notice.text
    assert bench.item(NAMES[0]).state == "not started"
    bench.click(footer.accept_empty)
    bench.wait_for(NAMES[1])
    assert bench.item(NAMES[0]).empty
    # A deleted object leaves the other one to accept.
    boxed(bench, 5.0, 35.0)
    bench.click(panel.point.form.delete_button)
    bench.qtbot.waitUntil(lambda: panel.session.current is not None, timeout=PATIENCE)
    bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert set(np.unique(tifffile.imread(bench.file(NAMES[1])))) == {0, 1}
    # A refined object is taken again.
    boxed(bench, 5.0)
    bench.click(panel.point.form.take_all_button)
    panel.point.choose(1)
    bench.press(bench.canvas, Qt.Key.Key_P)
    points = bench.viewer.layers.selection.active
    points.add([[12.0, 12.0]])
    one = panel.point._book.all(bench.layer)[0]
    bench.qtbot.waitUntil(lambda: one.refined and one.answered, timeout=PATIENCE)
    bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    bench.press(bench.canvas)
    assert "has changed since it was taken" in footer.message.text()
    assert bench.item(NAMES[2]).state == "not started"
    bench.click(panel.point.form.take_all_button)
    bench.press(bench.canvas)
    bench.wait_until_completed(NAMES[2])


def test_an_object_cut_by_another_label_is_accepted_at_the_second_press(pointing: Bench) -> None:
    bench, panel = pointing, pointing.panel
    boxed(bench, 5.0)
    bench.click(panel.point.form.take_all_button)
    # The lists of objects and of labels have the same names.
    panel.review.annotation.labels.ask_name = lambda _label, _name: "cyst"
    panel.review.annotation.labels.name_label(1)
    assert panel.point.form.objects.rows[0].name == "cyst"
    bench.press(bench.canvas, Qt.Key.Key_B)
    panel.point.tools.new_object()
    boxes = bench.viewer.layers.selection.active
    boxes.add_rectangles(np.array([[8.0, 8.0], [28.0, 28.0]]))

    def is_outlined() -> bool:
        states = [row.state for row in panel.point.form.objects.rows]
        return states == ["taken", "proposed"] and not panel.point._runner.busy

    bench.qtbot.waitUntil(is_outlined, timeout=PATIENCE)
    bench.press(bench.canvas)
    outlined = panel.point._book.all(bench.layer)[1].mask.pixels
    annotation = annotation_of(panel.session, create=False)
    assert annotation is not None
    written = np.count_nonzero(annotation.data == 2)
    assert 0 < written < outlined
    message = f"{outlined - written} of {outlined} pixels in the outline of object 2 have other"
    assert message in panel.footer.message.text()
    assert bench.item(NAMES[0]).state != "completed"
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert np.count_nonzero(tifffile.imread(bench.file(NAMES[0])) == 2) == written
    # A pixel of a neighbour is left to it unasked.
    boxed(bench, 5.0)
    (one,) = panel.point._book.all(bench.layer)
    border = np.argwhere(one.mask.whole((64, 64)))[0]
    annotation = annotation_of(panel.session)
    assert annotation is not None
    annotation.data_setitem(tuple(border[:, None]), 7)
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert "Left to neighbouring labels: 1 pixel of object 1." in panel.footer.message.text()
    accepted = tifffile.imread(bench.file(NAMES[1]))
    assert accepted[tuple(border)] == 7
    assert np.count_nonzero(accepted == 1) == one.mask.pixels - 1
    # An object that is not found is not proposed.
    bench.press(bench.canvas, Qt.Key.Key_B)
    boxes = bench.viewer.layers.selection.active
    boxes.add_rectangles(np.array([[0.0, 0.0], [3.0, 3.0]]))
    rows = panel.point.form.objects
    bench.qtbot.waitUntil(
        lambda: [(row.area, row.state) for row in rows.rows] == [("", "not found")],
        timeout=PATIENCE,
    )
    bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    assert "No disc was found at the marks of object 1" in panel.footer.message.text()


@pytest.mark.usefixtures("overlapping")
def test_new_objects_have_the_class_of_the_model_not_a_named_one(
    pointing: Bench, tmp_path: Path
) -> None:
    bench, panel = pointing, pointing.panel
    work = panel.queue.work
    assert work is not None
    add_classes(work.output, {2: "hair"})
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    boxed(bench, 5.0, 35.0)
    assert [row.number for row in panel.point.form.objects.rows] == [1, 3]
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    list(export_accepted(work, tmp_path / "all.json", "coco"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "all.json"))
    assert [each["name"] for each in coco.cats.values()] == ["disc", "hair"]
    assert [each["category_id"] for each in coco.anns.values()] == [1, 1]


def test_a_reopened_image_shows_only_its_annotation(bench: Bench) -> None:
    assert bench.mean_mask.visible
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    # Other settings do not change the uncertainty of an image that is done.
    measured = bench.item(NAMES[0])
    bench.panel.queue.form.n_samples.setValue(5)
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    current = bench.panel.session.current
    assert current is not None
    assert len(current.result.samples) == 5
    cell = bench.panel.queue.form.table.filtered.index(0, 3).data()
    assert cell == f"{100 * measured.uncertainty:.0f}%"
    assert bench.item(NAMES[0]).uncertainty == measured.uncertainty
    # What another window accepts in the meantime is not replaced unasked.
    file, footer = bench.file(NAMES[0]), bench.panel.footer
    tifffile.imwrite(file, np.ones((64, 64), np.uint8))
    for button in (footer.accept_empty, footer.accept):
        bench.click(button)
        assert "Another window has accepted this image" in footer.notice.text
        assert tifffile.imread(file).all()
    bench.click(footer.accept)
    bench.wait_for(NAMES[1])
    assert not tifffile.imread(file).all()
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    assert not bench.mean_mask.visible
    assert bench.panel.review.hypotheses.view.look.proposals_hidden
    # Figures are those of the mask on screen.
    form, texts = bench.panel.sampling.form, bench.panel.queue.form.status
    labels = bench.viewer.layers["blob_000 · annotation"]

    def describes(start: str) -> None:
        bench.qtbot.waitUntil(
            lambda: start in form.status.value and start in texts.text(), timeout=PATIENCE
        )

    describes(f"Annotation: {labels.data.mean():.1%} of the image, {labels.data.sum()} px².")
    assert "Dice" not in form.status.value
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    # What is painted on the mean mask is accepted, and counts as edited.
    current = bench.panel.session.current
    assert current is not None
    proposed = current.result.summary.mean_mask.copy()
    bench.mean_mask.data_setitem((np.full(10, 2), np.arange(10)), 1)
    np.testing.assert_array_equal(current.result.summary.mean_mask, proposed)
    assert not proposed[2, :10].any()
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    file = bench.file(NAMES[1])
    assert tifffile.imread(file)[2, :10].all()
    (proposal,) = json.loads(sidecar_path(file).read_text("utf-8"))["proposals"]
    assert proposal["origin"] == "mean mask"
    assert proposal["edited_pixels"] == 10


def test_an_image_without_a_lesion_stays_empty_until_reset(bench: Bench) -> None:
    panel = bench.panel
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    panel.footer.note.setText("blurred")
    bench.click(panel.footer.accept_empty)
    bench.wait_for(NAMES[2])
    assert f"{NAMES[1]} is done (empty), 2 of 3" in panel.footer.message.text()
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[1])
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert bench.item(NAMES[1]).empty
    assert not tifffile.imread(bench.file(NAMES[1])).any()
    # Reset acts on the selected image, and keeps its note.
    panel.tabs.setCurrentWidget(panel.queue)
    panel.queue.form.table.selectRow(1)
    bench.click(panel.queue.form.reset)
    states = [bench.item(name).state for name in NAMES]
    assert states == ["completed", "not started", "not started"]
    assert bench.item(NAMES[1]).note == "blurred"
    assert NAMES[1] in panel.footer.message.text()
    # The last image stays open, without proposals next to its empty annotation.
    bench.click(panel.footer.accept_empty)
    bench.wait_until_completed(NAMES[2])
    rest = "1 earlier image is not done: Page Up."
    assert panel.footer.message.text() == f"{NAMES[2]} is done (empty), 2 of 3. {rest}"
    assert panel.review.hypotheses.view.look.proposals_hidden
    status = panel.sampling.form.status
    bench.qtbot.waitUntil(lambda: "Annotation: empty." in status.value, timeout=PATIENCE)
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[1])
    assert "is done" not in panel.footer.message.text()


def test_hidden_results_are_not_accepted(bench: Bench) -> None:
    panel = bench.panel
    bench.press(bench.canvas, Qt.Key.Key_0)
    for accept in (partial(bench.press, bench.canvas), panel.accept, panel.queue.accept):
        panel.footer.clear()
        accept()
        assert "overlays are hidden" in panel.footer.message.text()
    bench.press(bench.canvas, Qt.Key.Key_0)
    bench.qtbot.waitUntil(lambda: bool(panel.review.hypotheses.hypotheses), timeout=PATIENCE)
    panel.review.hypotheses.choose(0)
    bench.press(bench.canvas)
    assert "A hypothesis is shown" in panel.footer.message.text()
    panel.review.hypotheses.end_preview()
    look = panel.review.hypotheses.view
    look.toggle_proposals()
    bench.press(bench.canvas)
    assert "proposals are hidden. Press Shift+Q" in panel.footer.message.text()
    look.toggle_proposals()
    bench.mean_mask.visible = False
    bench.press(bench.canvas)
    assert "mean mask' is hidden" in panel.footer.message.text()
    bench.mean_mask.visible = True
    bench.click(look.opacity)
    assert bench.canvas.hasFocus(), "the arrow keys are still those of the image"
    look.opacity.setValue(0)
    bench.press(bench.canvas)
    assert "Raise Opacity" in panel.footer.message.text()
    look.opacity.setValue(100)
    bench.annotate()
    annotation = annotation_of(panel.session, create=False)
    assert annotation is not None
    annotation.visible = False
    bench.press(bench.canvas)
    assert "annotation' is hidden" in panel.footer.message.text()
    assert bench.item(NAMES[0]).state == "not started"
    # Nothing is invisible on the next image.
    look.opacity.setValue(0)
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    assert look.opacity.value() == 100
    assert bench.mean_mask.opacity > 0.5
    # Strokes after the annotation are taken or undone before it is accepted.
    bench.annotate()
    panel.review.strokes.paint_foreground()
    strokes = bench.viewer.layers.selection.active
    before = panel.session.current
    strokes.data_setitem((np.full(8, 40), np.arange(30, 38)), FOREGROUND)
    bench.qtbot.waitUntil(lambda: panel.session.current is not before, timeout=PATIENCE)
    bench.qtbot.waitUntil(lambda: not panel.session.renewing, timeout=PATIENCE)
    bench.press(bench.canvas)
    assert "strokes have changed the mean mask" in panel.footer.message.text()
    assert bench.item(NAMES[1]).state == "not started"
    panel.review.annotation.take_mean_mask()
    mask = tuple(np.array(bench.mean_mask.data).ravel())
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert tuple(tifffile.imread(bench.file(NAMES[1])).ravel()) == mask
    # Nor is an annotation that was deleted.
    bench.annotate()
    annotation = annotation_of(panel.session, create=False)
    mean = np.asarray(bench.mean_mask.data) > 0
    assert annotation is not None
    assert not np.array_equal(annotation.data > 0, mean)
    bench.viewer.layers.remove(annotation)
    bench.press(bench.canvas)
    assert "proposals are hidden" in panel.footer.message.text()
    look.toggle_proposals()
    bench.press(bench.canvas)
    bench.wait_until_completed(NAMES[2])
    np.testing.assert_array_equal(tifffile.imread(bench.file(NAMES[2])) > 0, mean)


def test_painting_begins_with_the_mean_mask_and_a_visible_mask_is_not_ignored(
    bench: Bench,
) -> None:
    panel, viewer = bench.panel, bench.viewer

    def annotation() -> Any:
        layer = annotation_of(panel.session, create=False)
        assert layer is not None
        return layer

    # The key on a button acts as the button does, though a result is active.
    viewer.layers.selection.active = bench.mean_mask
    mean = np.asarray(bench.mean_mask.data) > 0
    assert mean.any()
    bench.press(bench.canvas, Qt.Key.Key_2)
    assert (bench.mean_mask.mode, annotation().mode) == ("pan_zoom", "paint")
    np.testing.assert_array_equal(annotation().data > 0, mean)
    annotation().data_setitem((np.full(3, 0), np.arange(3)), 1)
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert np.count_nonzero(tifffile.imread(bench.file(NAMES[0]))) == mean.sum() + 3
    # What is painted after Undo is accepted once the mean mask is hidden.
    panel.review.annotation.paint()
    assert annotation().data.any()
    annotation().undo()
    assert not annotation().data.any()
    annotation().data_setitem((np.full(3, 0), np.arange(3)), 1)
    bench.press(bench.canvas)
    assert "only the annotation would be accepted" in panel.footer.message.text()
    assert bench.item(NAMES[1]).state != "completed"
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Q, Qt.KeyboardModifier.ShiftModifier)
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert np.count_nonzero(tifffile.imread(bench.file(NAMES[1]))) == 3
    # A new run does not leave two answers.
    bench.annotate()
    with bench.qtbot.waitSignal(panel.sampling.finished, timeout=PATIENCE):
        panel.run_model()
    bench.press(bench.canvas)
    assert "only the annotation would be accepted" in panel.footer.message.text()
    panel.review.annotation.take_mean_mask()
    mean = np.asarray(bench.mean_mask.data) > 0
    bench.press(bench.canvas)
    bench.wait_until_completed(NAMES[2])
    np.testing.assert_array_equal(tifffile.imread(bench.file(NAMES[2])) > 0, mean)


def test_learn_uses_the_current_model_and_folder_unless_another_is_chosen(
    bench: Bench, tmp_path: Path
) -> None:
    bench.panel.sampling.form.model.choose("generalist")
    assert bench.panel.learning.form.model.box.currentData() == "generalist"
    assert bench.panel.learning.form.name.text().startswith("generalist")
    bench.panel.sampling.form.model.box.setCurrentText(FOLDER_CHOICE)
    images = bench.panel.learning.form.images
    assert images.path() == bench.folder
    second, third = tmp_path / "second", tmp_path / "third"
    for folder in (second, third):
        shutil.copytree(bench.folder, folder, ignore=shutil.ignore_patterns("latentfm*"))
    bench.panel.open_folder(second)
    bench.qtbot.waitUntil(lambda: images.path() == second, timeout=PATIENCE)
    images.set_path(tmp_path)
    bench.shown.clear()
    bench.panel.open_folder(third)
    bench.wait_for(NAMES[0])
    assert images.path() == tmp_path


def test_undo_proposes_an_accepted_object_again_and_runs_keep_outlines(
    pointing: Bench,
) -> None:
    bench, panel = pointing, pointing.panel
    rows = taken(bench)
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    assert record_of(layer).proposals
    assert not bench.mean_mask.visible
    layer.undo()
    bench.qtbot.waitUntil(lambda: rows.rows[0].state == "proposed", timeout=PATIENCE)
    assert bench.mean_mask.visible
    assert not record_of(layer).proposals
    layer.redo()
    assert len(record_of(layer).proposals) == 1
    layer.undo()
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert tifffile.imread(bench.file(NAMES[0])).any(), "it was proposed, and Enter took it"
    # Outlines next to the mask of a later run are not accepted unseen.
    boxed(bench, 5.0)
    with bench.qtbot.waitSignal(panel.sampling.finished, timeout=PATIENCE):
        panel.run_model()
    current = panel.session.current
    assert current is not None
    assert current.label is None
    bench.press(bench.canvas)
    assert "the outline of object 1 are on screen" in panel.footer.message.text()
    assert bench.item(NAMES[1]).state == "not started"
    bench.click(panel.point.form.take_all_button)
    bench.qtbot.waitUntil(lambda: rows.rows[0].state == "taken", timeout=PATIENCE)
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    assert bench.item(NAMES[1]).state == "completed"


@pytest.mark.styled
def test_the_checkbox_of_an_object_hides_it_without_selecting_it(pointing: Bench) -> None:
    bench, panel = pointing, pointing.panel
    boxed(bench, 5.0, 35.0)
    panel.annotate.uncover("Point")
    table, timers = panel.point.form.objects, (panel.point._settle, panel.point._refresh)
    bench.qtbot.waitUntil(lambda: not any(map(QTimer.isActive, timers)), timeout=PATIENCE)
    item = table.topLevelItem(0)
    assert item is not None

    def is_on_screen() -> bool:
        return bool(table.viewport().rect().contains(table.visualItemRect(item).center()))

    bench.qtbot.waitUntil(is_on_screen, timeout=PATIENCE)
    look = QStyleOptionViewItem()
    table.initViewItemOption(look)
    look.rect = table.visualItemRect(item)
    look.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    part = QStyle.SubElement.SE_ItemViewItemCheckIndicator
    box = table.style().subElementRect(part, look, table)
    bench.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=box.center())
    bench.qtbot.waitUntil(lambda: not table.rows[0].visible, timeout=PATIENCE)
    current = panel.session.current
    assert current is not None
    assert current.label == 2


def test_the_view_is_fitted_to_an_image_of_another_size_only(
    opened: Callable[..., Any], images: Path, qtbot: Any
) -> None:
    """The first image has 64 x 64 pixels, the others 320 x 256."""
    for name in NAMES[1:]:
        Image.open(images / name).resize((256, 320)).save(images / name)
    viewer, panel = opened(show=True)
    bench = Bench(viewer, panel, images, qtbot)
    camera = camera_of(viewer)
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    np.testing.assert_allclose(camera.center[-2:], (159.5, 127.5))
    canvas = bench.canvas
    filled = max(320 * camera.zoom / canvas.height(), 256 * camera.zoom / canvas.width())
    np.testing.assert_allclose(filled, 0.95, atol=0.05)
    box = extent(panel.session.current.result.summary.mean_mask > 0)
    assert box is not None
    camera.zoom *= 0.8
    camera.center = (0, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    chosen = camera.center, camera.zoom
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[2])
    assert (camera.center, camera.zoom) == chosen
    camera.zoom *= 20
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[1])
    np.testing.assert_allclose(
        camera.center[-2:], (159.5, 127.5), err_msg="a part is accepted unseen"
    )
    bench.panel.queue.open(NAMES[0])
    bench.wait_for(NAMES[0])
    np.testing.assert_allclose(camera.center[-2:], (31.5, 31.5))
