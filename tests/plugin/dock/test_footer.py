"""Accept, no lesion, flag and note: in a real folder, and for a single image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QSlider, QTabBar

from latentfm_core.worklist.accepted import export_accepted
from latentfm_core.worklist.order import tally
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.file_export import export_interchange
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of
from napari_latentfm.annotation.region import region_layer
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.background.signals import pause_timer
from napari_latentfm.dock import accepting
from napari_latentfm.dock.accepting import UNSEEN
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.dock.welcome import Welcome
from napari_latentfm.notices import show_error
from napari_latentfm.worklist.export_dialog import Wanted
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, gate, run
from tests.plugin.dock.conftest import NAMES, Bench

Open = Callable[..., tuple[Any, LatentFMPanel]]
PLAIN = Qt.KeyboardModifier.NoModifier


class StatusSpy(QObject):
    """Records every text that a label paints."""

    def __init__(self, label: Any, said: list[str]) -> None:
        super().__init__(label)
        self._label, self._said = label, said
        label.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:  # noqa: N802
        if event.type() == QEvent.Type.Paint:
            self._said.append(self._label.text())
        return False


def test_accept_moves_to_the_next_image(bench: Bench) -> None:
    """Enter does so right after the folder was opened, too."""
    footer = bench.panel.footer
    assert footer.accept.text() == "Accept && next"
    (welcome,) = bench.panel.findChildren(Welcome)
    assert welcome.isVisible()
    bench.panel.window().activateWindow()
    bench.qtbot.waitUntil(bench.canvas.hasFocus, timeout=PATIENCE)
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Return)
    bench.wait_for(NAMES[1])
    assert bench.item(NAMES[0]).state == "completed"
    assert welcome.isHidden(), "the three steps are done"
    bench.annotate()
    # An image of the list has the same name in its own export and in that of the list.
    layer = annotation_of(bench.panel.session)
    assert layer is not None
    facts = facts_of(layer)
    assert facts is not None
    single = bench.folder.parent / "single.labelme.json"
    export_interchange(single, facts, np.array(layer.data))
    bench.click(footer.accept)
    bench.wait_for(NAMES[2])
    assert bench.item(NAMES[1]).state == "completed"
    assert tifffile.imread(bench.file(NAMES[1])).sum() == 81
    list(export_accepted(WorkList(bench.folder), bench.folder.parent, "labelme"))
    from_list = bench.folder.parent / f"{Path(NAMES[1]).stem}.json"
    assert json.loads(single.read_text()) == json.loads(from_list.read_text())
    # A click on the title of a tab, or between controls, gives the focus to the window.
    bench.annotate()
    bench.press(bench.panel.window())
    bench.wait_until_completed(NAMES[2])


def test_enter_accepts_unless_used_otherwise_until_the_folder_ends(
    bench: Bench,
) -> None:
    panel, footer = bench.panel, bench.panel.footer
    focused: list[Callable[[], Any]] = [
        lambda: panel.sampling.form.model.box,
        lambda: next(each for each in panel.findChildren(QSlider) if each.isVisible()),
        lambda: panel.findChild(QTabBar),
    ]
    for name, following, widget in zip(NAMES, (*NAMES[1:], ""), focused, strict=True):
        bench.annotate()
        bench.press(widget())
        if following:
            bench.wait_for(following)
        else:
            bench.wait_until_completed(name)
        assert bench.item(name).state == "completed"
    message = panel.footer.message
    bench.qtbot.waitUntil(lambda: "are done" in message.text(), timeout=PATIENCE)
    assert "Export them in the tab Folder" in message.text()
    # What is painted after that is kept at the end of the list, and before an export.
    form, target = panel.queue.form, bench.folder.parent / "coco.json"
    panel.queue.exporting.ask = lambda _work, _table: Wanted("coco", target)
    labels, accepted = bench.viewer.layers[f"{Path(NAMES[2]).stem} · annotation"], 81
    labels.data_setitem((np.full(5, 20), np.arange(5)), 1)
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.qtbot.waitUntil(lambda: "not accepted yet" in message.text(), timeout=PATIENCE)
    assert message.text() == f"All other images are done. {NAMES[2]} is not accepted yet."
    assert str(form.tally.text()).startswith("2 of 3 done")
    bench.click(footer.accept)
    bench.qtbot.waitUntil(lambda: bench.item(NAMES[2]).state == "completed", timeout=PATIENCE)
    assert tifffile.imread(bench.file(NAMES[2])).sum() == accepted + 5
    labels.data_setitem((np.full(5, 30), np.arange(5)), 1)
    panel.tabs.setCurrentWidget(panel.queue)
    bench.click(form.export)
    bench.qtbot.waitUntil(lambda: "coco.json" in footer.notice.text, timeout=PATIENCE)
    assert footer.notice.text.endswith(
        "Exported 2 images to coco.json. 1 image has changes that are not accepted: "
        f"{NAMES[2]}. Accept it again to export it."
    )
    assert form.tally.text().startswith("2 of 3 done")
    bench.click(footer.accept)
    bench.qtbot.waitUntil(lambda: bench.item(NAMES[2]).state == "completed", timeout=PATIENCE)
    panel.queue.exporting.may_replace = lambda _files: True
    bench.click(form.export)
    bench.qtbot.waitUntil(
        lambda: footer.message.text() == "Exported 3 images to coco.json.", timeout=PATIENCE
    )
    assert not footer.notice.text, "a warning about an export ends with the next one"
    areas = [each["area"] for each in json.loads(target.read_text("utf-8"))["annotations"]]
    assert areas == [accepted, accepted, accepted + 10]


def test_enter_does_not_accept_in_a_list_button_or_text_field(bench: Bench) -> None:
    panel, table = bench.panel, bench.panel.queue.form.table
    bench.annotate()
    for widget in (panel.sampling.form.run_button.native, panel.footer.note, panel.help):
        bench.press(widget)
        assert not panel.queue._navigator.moving
    assert bench.item(NAMES[0]).state == "not started"
    panel.tabs.setCurrentWidget(panel.queue)
    bench.press(table)
    bench.qtbot.wait(100)
    assert panel.queue.current == NAMES[0]
    assert bench.item(NAMES[0]).state != "completed"
    # Other keys work in the list.
    bench.press(table, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    bench.press(table, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    bench.annotate()
    bench.qtbot.keyClick(table, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    bench.wait_for(NAMES[1])
    assert bench.item(NAMES[0]).state == "completed"


def test_no_lesion_asks_again_if_something_is_marked_or_accepted(bench: Bench) -> None:
    footer = bench.panel.footer
    bench.annotate()
    bench.click(footer.accept_empty)
    assert "81 pixels are marked" in footer.notice.text
    assert footer.notice.isVisible()
    assert bench.item(NAMES[0]).state == "not started"
    layer = annotation_of(bench.panel.session)
    assert layer is not None
    layer.data_setitem((np.array([30]), np.array([30])), 1)
    bench.click(footer.accept_empty)
    assert "82 pixels are marked" in footer.notice.text, "the question is another one now"
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert not footer.notice.isVisible(), "it was accepted instead"
    bench.annotate()
    bench.click(footer.accept_empty)
    bench.click(footer.accept_empty)
    bench.wait_for(NAMES[2])
    assert bench.item(NAMES[1]).empty
    assert not tifffile.imread(bench.file(NAMES[1])).any()
    bench.panel.queue.open(NAMES[0])
    bench.wait_for(NAMES[0])
    layer = annotation_of(bench.panel.session)
    assert layer is not None
    layer.data_setitem(np.nonzero(layer.data), 0)
    bench.click(footer.accept_empty)
    assert "An annotation was accepted" in footer.notice.text
    assert tifffile.imread(bench.file(NAMES[0])).any()
    bench.click(footer.accept_empty)
    bench.qtbot.waitUntil(lambda: bench.item(NAMES[0]).empty, timeout=PATIENCE)
    assert not tifffile.imread(bench.file(NAMES[0])).any()


def test_a_flag_and_a_note_are_stored_with_the_image(bench: Bench) -> None:
    footer = bench.panel.footer
    bench.click(footer.flag)
    assert bench.item(NAMES[0]).state == "flagged"
    assert footer.flag.isChecked()
    bench.qtbot.keyClicks(footer.note, "two les")
    bench.panel.queue.listed.emit()
    assert footer.note.text() == "two les", "news of the image do not overwrite what is typed"
    bench.qtbot.keyClicks(footer.note, "ions?")
    bench.press(footer.note)
    assert bench.item(NAMES[0]).note == "two lesions?"
    assert bench.panel.queue.current == NAMES[0], "Enter in a line of text accepts nothing"
    bench.click(footer.flag)
    assert not footer.flag.isChecked()
    assert bench.item(NAMES[0]).note == "two lesions?", "a remark is not the flag's"
    bench.click(footer.flag)
    bench.qtbot.keyClicks(footer.note, " left one")
    # Typed and not yet confirmed, it is kept too.
    bench.annotate()
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    bench.wait_for(NAMES[1])
    done = bench.item(NAMES[0])
    assert (done.state, done.note) == ("completed", "two lesions? left one")
    assert done.flagged, "a flag outlives accepting"
    assert str(tally(WorkList(bench.folder).items())).startswith("1 of 3 done, 1 flagged")
    assert footer.note.text() == ""
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    assert footer.note.text() == "two lesions? left one"
    assert footer.flag.isChecked()
    bench.click(footer.flag)
    undone = bench.item(NAMES[0])
    assert (undone.state, undone.flagged) == ("completed", False)


def test_enter_on_the_canvas_accepts_with_any_active_layer(bench: Bench) -> None:
    session = bench.panel.session
    active: list[tuple[Callable[[], Any], str]] = [
        (lambda: bench.panel.queue.open_image.layer, "pan_zoom"),
        (lambda: annotation_of(session), "paint"),
        (lambda: region_layer(session), "pan_zoom"),
    ]
    for name, (layer_of, mode) in zip(NAMES, active, strict=True):
        bench.wait_for(name)
        bench.annotate()
        layer = layer_of()
        assert layer is not None
        bench.viewer.layers.selection.active = layer
        layer.mode = mode
        bench.press(bench.canvas)
        bench.wait_until_completed(name)


def test_enter_finishes_a_polygon_first(bench: Bench) -> None:
    session = bench.panel.session

    def press(layer: Any, mode: str, name: str) -> None:
        """Draw a polygon, and finish it."""
        bench.viewer.layers.selection.active = layer
        layer.mode = mode
        for side in ((-20, -20), (20, -20), (20, 20)):
            corner = bench.canvas.rect().center() + QPoint(*side)
            QTest.mouseMove(bench.canvas, corner)
            QApplication.processEvents()
            QTest.mouseClick(bench.canvas, Qt.MouseButton.LeftButton, PLAIN, corner)
        bench.press(bench.canvas)
        bench.qtbot.wait(50)
        assert bench.panel.queue.current == name
        assert not bench.panel.queue._navigator.moving
        assert bench.item(name).state == "not started"

    bench.annotate()
    labels = annotation_of(session)
    assert labels is not None
    before, footer = labels.data.copy(), bench.panel.footer
    press(labels, "polygon", NAMES[0])
    assert (labels.data != before).any(), "it was finished"
    assert footer.tool.text().startswith("Polygon is active")
    # Then it accepts, in this mode, too.
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert not footer.tool.isVisible()
    bench.annotate()
    region = region_layer(session)
    assert region is not None
    press(region, "add_polygon", NAMES[1])
    assert len(region.data) == 1
    bench.press(bench.canvas)
    bench.wait_for(NAMES[2])
    # The tool for boxes needs no Enter.
    mine = bench.viewer.add_shapes(ndim=2)
    press(mine, "add_polygon", NAMES[2])
    mine.mode = "add_rectangle"
    bench.press(bench.canvas)
    bench.wait_until_completed(NAMES[2])


def test_closing_the_dock_keeps_the_work_and_restores_enter_for_layers(bench: Bench) -> None:
    bench.annotate()
    bench.qtbot.keyClicks(bench.panel.footer.note, "unfinished")
    layer = annotation_of(bench.panel.session)
    assert layer is not None
    bench.viewer.layers.selection.active = layer
    assert layer.keymap
    bench.viewer.layers.selection.active = bench.panel.queue.open_image.layer
    assert not layer.keymap
    bench.viewer.layers.selection.active = layer
    bench.viewer.window.remove_dock_widget(bench.panel)
    assert not layer.keymap
    assert not bench.viewer.keymap
    item = bench.item(NAMES[0])
    assert (item.state, item.note) == ("in progress", "unfinished")


def test_closing_the_dock_leaves_no_hidden_layers_of_the_previous_image(bench: Bench) -> None:
    closed: list[bool] = []

    def close() -> None:
        closed.append(any("(before)" in layer.name for layer in bench.viewer.layers))
        bench.viewer.window.remove_dock_widget(bench.panel)

    timer = pause_timer(bench.panel, 0, close)

    def on_inserted() -> None:
        # The next image is there, and its samples are not: they are shown one layer per step.
        if bench.panel.queue.current == NAMES[1] and not closed:
            timer.start()

    bench.annotate()
    bench.viewer.layers.events.inserted.connect(on_inserted)
    bench.click(bench.panel.footer.accept)
    bench.qtbot.waitUntil(lambda: bool(closed), timeout=PATIENCE)
    assert closed[0], "they were there when the dock was closed"
    hidden = [layer.name for layer in bench.viewer.layers if not layer.visible]
    # The next image may have results by then, of which one is hidden at first.
    assert not [name for name in hidden if not name.startswith("blob_001 · ")]
    assert tifffile.imread(WorkList(bench.folder).annotation(NAMES[0])).sum() == 81


@pytest.mark.styled
def test_the_next_image_shows_the_top_of_the_section_in_use(bench: Bench) -> None:
    annotate = bench.panel.annotate
    for title in ("Point", "Compare", "Fix", "Uncertain regions"):
        annotate.sections[title].set_opened(True)
    section, bar = annotate.sections["Compare"], annotate.area.verticalScrollBar()
    fix, height = annotate.sections["Fix"], annotate.area.viewport().height()
    # Once the sections have their heights.
    bench.qtbot.waitUntil(lambda: fix.y() > section.y() + height > height, timeout=PATIENCE)
    bar.setValue(section.y() + 60)
    bench.annotate()
    bench.click(bench.panel.footer.accept)
    bench.wait_for(NAMES[1])
    bench.qtbot.waitUntil(lambda: bar.value() == section.y(), timeout=PATIENCE)
    bench.qtbot.wait(300)
    assert bar.value() == section.y()


def test_a_hidden_user_image_is_named_and_stays_visible_once_shown(bench: Bench) -> None:
    bench.annotate()
    # Labels of the image that is left would be taken for those of the next one.
    drawn = bench.viewer.add_labels(np.eye(64, dtype=np.uint8), name="drawn")
    mine = bench.viewer.add_image(disc_image(), name="mine")
    assert mine.visible
    bench.panel.next_image()
    bench.wait_for(NAMES[1])
    assert not mine.visible
    assert not drawn.visible
    assert "'drawn', 'mine' cover this image and were" in bench.panel.footer.message.text()
    mine.visible = drawn.visible = True
    bench.panel.next_image()
    bench.wait_for(NAMES[2])
    assert mine.visible, "shown by hand"
    assert drawn.visible
    assert "mine" not in bench.panel.footer.message.text()


def test_the_header_describes_new_samples_and_the_footer_does_not(bench: Bench) -> None:
    form, footer, session = bench.panel.sampling.form, bench.panel.footer, bench.panel.session
    assert form.progress.native.text() == "done"
    assert not form.cancel_button.enabled
    assert "Mean mask" in bench.panel.header.status.text()
    assert footer.message.text() == "", "nothing is reported twice"
    current = session.current
    assert current is not None
    mask = np.zeros_like(current.result.summary.mean_mask)
    mask[:5, :5] = 1
    summary = replace(current.result.summary, mean_mask=mask)
    session.show(replace(current, result=replace(current.result, summary=summary)))
    assert "25 px²" in bench.panel.queue.form.status.text()
    assert footer.message.isHidden()
    # Export is offered once there is an annotation.
    assert not footer.export.isEnabled()
    assert "no annotation yet" in footer.export.toolTip()
    bench.annotate()
    assert footer.export.isEnabled()
    assert "no annotation" not in footer.export.toolTip()
    # The footer text stays while another sample is shown, until the next edit.
    footer.show_message("Exported.")
    for sample in (1, 2):
        bench.viewer.dims.set_current_step(0, sample)
    assert footer.message.text() == "Exported."
    layer = annotation_of(session)
    assert layer is not None
    layer.undo()
    assert not footer.message.text()
    layer.redo()
    bench.panel.next_image()
    bench.wait_for(NAMES[1])
    assert not footer.export.isEnabled()


def test_an_unreadable_image_is_named_once_the_next_is_open(bench: Bench) -> None:
    (bench.folder / NAMES[1]).write_bytes(b"not a picture")
    bench.panel.next_image()
    bench.wait_for(NAMES[2])
    notice = bench.panel.footer.notice
    assert notice.isVisible()
    assert notice.text.startswith(f"{NAMES[1]} is flagged: cannot be read")
    assert str(bench.folder) not in notice.text
    assert bench.item(NAMES[1]).error.startswith("cannot be read")
    assert bench.item(NAMES[1]).flagged


def test_a_single_image_is_accepted_without_a_list(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    with qtbot.waitActive(panel.window(), timeout=PATIENCE):
        panel.window().activateWindow()
    footer = panel.footer
    assert footer.accept.text() == "Accept"
    assert not footer.flag.isEnabled()
    assert "Open a folder" in footer.note.toolTip()
    for button in (footer.accept, footer.accept_empty):
        assert not button.isEnabled()
        assert "Open an image" in button.toolTip()
    panel.accept()
    assert "Open an image" in footer.message.text(), "Enter explains it, too"
    panel.point.key_actions()["B"]()
    assert footer.message.text().startswith("Open an image first")
    viewer.add_image(disc_image(), name="photo")
    assert "Open an image" not in footer.accept.toolTip()
    qtbot.mouseClick(footer.accept, Qt.MouseButton.LeftButton)
    assert footer.message.text().startswith("photo: Nothing to accept yet. Run the model")
    assert run(qtbot, panel.sampling) == "done"
    assert not footer.message.text(), "no longer true"
    current = panel.session.current
    assert current is not None
    mask = current.result.summary.mean_mask
    assert mask.any()
    status, mean = panel.sampling.form.status, viewer.layers["photo · mean mask"]
    for visible, start in ((False, "photo: Mean mask (hidden): "), (True, "photo: Mean mask: ")):
        mean.visible = visible
        qtbot.waitUntil(lambda text=start: status.value.startswith(text), timeout=PATIENCE)
    qtbot.mouseClick(footer.accept, Qt.MouseButton.LeftButton)
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    np.testing.assert_array_equal(layer.data > 0, mask)
    assert layer.name in footer.message.text()
    assert f"{np.count_nonzero(mask):,} pixels" in footer.message.text()
    qtbot.waitUntil(lambda: footer.kept.text().startswith("Autosaved"), timeout=PATIENCE)
    assert any(autosave_folder().rglob("*"))
    layer.undo()
    assert not footer.message.text(), "no longer accepted"
    # The painted pixels are accepted unchanged.
    with layer.block_history():
        layer.data_setitem((np.array([1, 1]), np.array([1, 2])), 1)
    panel.review.hypotheses.view.toggle_proposals()
    # The click on Accept gave the keyboard to the image, where Enter accepts again.
    focus = QApplication.focusWidget()
    assert focus is not None, "nothing has the keyboard"
    qtbot.keyClick(focus, Qt.Key.Key_Return)
    assert "photo: accepted, 2 pixels" in footer.message.text()
    qtbot.mouseClick(footer.accept_empty, Qt.MouseButton.LeftButton)
    assert "2 pixels are marked" in footer.notice.text
    assert layer.data.any()
    footer.accept_empty.setFocus()
    qtbot.keyClick(footer.accept_empty, Qt.Key.Key_Space)
    assert footer.accept_empty.hasFocus(), "a user of the keyboard goes on from there"
    assert not layer.data.any()
    layer.undo()
    assert np.count_nonzero(layer.data) == 2, "one step brings all back"


def test_a_mean_mask_without_background_is_not_accepted(bench: Bench) -> None:
    session = bench.panel.session
    for background, accepts in ((0.0, False), (0.03, True)):
        current = session.current
        assert current is not None
        summary = current.result.summary
        mask = np.ones_like(summary.mean_mask)
        mask[: round(background * len(mask))] = False
        shown = replace(current.result, summary=replace(summary, mean_mask=mask))
        session.show(replace(current, result=shown))
        bench.mean_mask.data = mask.astype(np.uint8)
        bench.click(bench.panel.footer.accept)
        if accepts:
            bench.wait_for(NAMES[1])
        else:
            assert "covers 100.0% of the image" in bench.panel.footer.message.text()
        assert bench.item(NAMES[0]).state == ("completed" if accepts else "not started")


def test_a_run_of_a_closed_image_does_not_report_on_the_next_one(bench: Bench) -> None:
    panel, form = bench.panel, bench.panel.sampling.form
    bench.qtbot.waitUntil(lambda: not panel.queue.sampler.busy, timeout=PATIENCE)
    slow = gate(panel.sampling)
    panel.sampling.job.unload()
    panel.run_model()
    assert panel.sampling.running
    said: list[str] = []
    painted = StatusSpy(form.status.native, said)
    panel.next_image()
    slow.allow(50)
    bench.wait_for(NAMES[1])
    bench.qtbot.waitUntil(lambda: not panel.sampling.running, timeout=PATIENCE)
    bench.qtbot.waitUntil(lambda: "samples in" in form.status.value, timeout=PATIENCE)
    assert form.status.value.startswith("blob_001: ")
    form.status.native.removeEventFilter(painted)
    assert said
    assert not [text for text in said if "(before)" in text]
    # Its layer is renamed: the same result is described by its new name.
    assert panel.chosen.layer is not None
    panel.chosen.layer.name = "mine"
    assert form.status.value.startswith("mine: ")
    assert "samples in" in form.status.value


def make_unlike(bench: Bench) -> None:
    """Make the open image one that is unlike the training images."""
    session = bench.panel.session
    current = session.current
    assert current is not None
    mask = np.zeros_like(current.result.summary.mean_mask)
    mask[20:30, 20:30] = True
    summary = replace(current.result.summary, mean_mask=mask, domain_score=2.0)
    session.show(replace(current, result=replace(current.result, summary=summary)))


def test_an_out_of_domain_image_needs_a_second_press(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double press does not count as the second one."""
    panel = bench.panel

    def press_control_enter() -> None:
        panel.footer.note.setFocus()
        control = Qt.KeyboardModifier.ControlModifier
        bench.qtbot.keyClick(panel.footer.note, Qt.Key.Key_Return, control)

    ways: list[Callable[[], None]] = [
        lambda: bench.press(bench.canvas),
        lambda: bench.click(panel.footer.accept),
        press_control_enter,
    ]
    for name, following, accept in zip(NAMES, (*NAMES[1:], ""), ways, strict=True):
        make_unlike(bench)
        accept()
        monkeypatch.setattr(accepting, "TOGETHER", 1000.0)
        for _ in range(2):
            accept()
        assert panel.footer.notice.isVisible()
        assert UNSEEN in panel.footer.notice.text
        assert not panel.queue._navigator.moving
        assert bench.item(name).state == "not started"
        assert annotation_of(panel.session, create=False) is None
        monkeypatch.setattr(accepting, "TOGETHER", 0.0)
        accept()
        if following:
            bench.wait_for(following)
        else:
            bench.wait_until_completed(name)
        assert bench.item(name).state == "completed"
        assert panel.footer.notice.isHidden()


def test_a_double_click_accepts_one_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    footer = bench.panel.footer
    for button, following in ((footer.accept_empty, NAMES[1]), (footer.accept, NAMES[2])):
        monkeypatch.setattr(accepting, "TOGETHER", 0.0)
        if button is footer.accept:
            bench.annotate()
        bench.click(button)
        bench.wait_for(following)
        monkeypatch.setattr(accepting, "TOGETHER", 1000.0)
        if button is footer.accept:
            bench.annotate()
        bench.click(button)
        assert not bench.panel.queue._navigator.moving
        assert bench.item(following).state == "not started"


@pytest.mark.parametrize("in_list", [True, False])
def test_a_removed_mean_mask_is_not_accepted(
    opened: Open, images: Path, qtbot: Any, in_list: bool
) -> None:
    viewer, panel = opened(show=True)
    if in_list:
        Bench(viewer, panel, images, qtbot)
    else:
        viewer.add_image(disc_image(), name="photo")
        assert run(qtbot, panel.sampling) == "done"
    viewer.layers.remove(next(each for each in viewer.layers if each.name.endswith("mean mask")))
    qtbot.mouseClick(panel.footer.accept, Qt.MouseButton.LeftButton)
    assert "was removed from the layer list" in panel.footer.message.text()
    assert "Press Run" in panel.footer.message.text()
    assert annotation_of(panel.session, create=False) is None
    assert run(qtbot, panel.sampling) == "done"
    qtbot.mouseClick(panel.footer.accept, Qt.MouseButton.LeftButton)
    if in_list:
        qtbot.waitUntil(lambda: WorkList(images).item(NAMES[0]).state == "completed")
    else:
        assert "photo: accepted" in panel.footer.message.text()


def test_one_enter_accepts_an_edited_out_of_domain_image(
    opened: Open, images: Path, blob_folders: tuple[Path, Path], qtbot: Any
) -> None:
    names = [*NAMES, "blob_003.png"]
    shutil.copy(blob_folders[0] / names[-1], images)
    viewer, panel = opened(show=True)
    bench, session = Bench(viewer, panel, images, qtbot), panel.session
    helps = ("outline", "sample", "strokes", "prompt")
    for name, following, help_ in zip(names, (*names[1:], ""), helps, strict=True):
        make_unlike(bench)
        current = session.current
        assert current is not None
        samples = current.result.samples
        if help_ == "outline":
            bench.annotate()
        elif help_ == "sample":
            write_labels(session, current.result.summary.mean_mask)
        elif help_ == "strokes":
            samples = replace(samples, strokes=np.zeros(current.plane.shape, np.uint8))
        else:
            box = {"box": [20, 20, 30, 30]}
            samples = replace(samples, record=replace(samples.record, prompt=box))
        session.show(replace(current, result=replace(current.result, samples=samples)))
        bench.press(bench.canvas)
        if following:
            bench.wait_for(following)
        else:
            bench.wait_until_completed(name)


def test_enter_works_in_a_dock_that_napari_opened(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    # What napari hands to a plugin.
    panel = open_dock(PublicOnlyProxy(viewer))
    viewer.add_labels(np.zeros((20, 20), np.uint8))
    canvas = viewer.window._qt_viewer.canvas.native
    panel.window().activateWindow()
    canvas.setFocus()
    qtbot.waitUntil(canvas.hasFocus, timeout=PATIENCE)
    qtbot.keyClick(canvas, Qt.Key.Key_Return)
    assert "Nothing to accept yet" in panel.footer.message.text()


def test_a_box_that_needs_another_model_is_not_accepted(bench: Bench) -> None:
    panel = bench.panel
    panel.sections["Point"].set_opened(False)
    bench.click(panel.point.form.tools["box"])
    assert panel.sections["Point"].opened
    assert "does not take boxes" in panel.footer.message.text()
    boxes = next(layer for layer in bench.viewer.layers if layer.name.endswith("prompt boxes"))
    boxes.add_rectangles(np.array([[10.0, 10.0], [30.0, 30.0]]))
    bench.qtbot.waitUntil(lambda: bool(panel.point.unanswered()), timeout=PATIENCE)
    mean = next(layer for layer in bench.viewer.layers if layer.name.endswith("mean mask"))
    assert mean.visible, "it is still the result on screen"
    bench.click(panel.footer.accept)
    assert "no outline yet" in panel.footer.message.text()
    assert bench.item(NAMES[0]).state == "not started"
    bench.click(panel.point.form.undo_button)
    bench.click(panel.footer.accept)
    bench.wait_for(NAMES[1])


def test_replacing_a_box_is_reported_and_can_be_undone(
    bench: Bench, promptable_model_folder: Path
) -> None:
    panel = bench.panel
    panel.sections["Point"].set_opened(False)
    panel.sampling.form.model.choose(promptable_model_folder)
    panel.tabs.setCurrentWidget(panel.annotate)
    bench.press(bench.canvas, Qt.Key.Key_B)
    boxes = bench.viewer.layers.selection.active
    seen: list[Any] = [panel.session.current]

    def is_answered() -> bool:
        current = panel.session.current
        answered = current is not None and current.label == 1 and not panel.session.renewing
        return answered and current is not seen[-1]

    for corner, noted in ((10.0, False), (30.0, True)):
        boxes.add_rectangles(np.array([[corner, corner], [corner + 20, corner + 20]]))
        bench.qtbot.waitUntil(is_answered, timeout=PATIENCE)
        bench.qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
        seen.append(panel.session.current)
        assert ("replaced that of object 1" in panel.footer.message.text()) is noted
    control = Qt.KeyboardModifier.ControlModifier
    bench.qtbot.keyClick(bench.canvas, Qt.Key.Key_Z, control)
    bench.qtbot.waitUntil(is_answered, timeout=PATIENCE)
    current = panel.session.current
    assert current is not None
    assert current.result.samples.prompt["box"] == seen[1].result.samples.prompt["box"]
    assert "replaced" not in panel.footer.message.text(), "no longer true"


@pytest.mark.styled
def test_an_error_stays_in_the_footer_until_the_next_run(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    notice, sampling = panel.footer.notice, panel.sampling
    assert notice.isHidden()
    load = sampling.job.load
    gate(sampling, error=MemoryError()).allow(1)
    assert run(qtbot, sampling) == "failed"
    assert notice.isVisible()
    assert notice.text.startswith("photo: ")
    assert notice.text == sampling.last_error

    def is_whole() -> bool:
        lines = notice.label.heightForWidth(notice.label.width())
        return bool(notice.label.height() >= lines > notice.label.fontMetrics().height())

    qtbot.waitUntil(is_whole, timeout=PATIENCE)
    sampling.job.load = load
    sampling.job.unload()
    assert run(qtbot, sampling) == "done"
    assert notice.isHidden()


@pytest.mark.styled
def test_a_dismissed_warning_stays_dismissed_and_a_folder_warning_stays(
    bench: Bench, tmp_path: Path
) -> None:
    notice, folder = bench.panel.footer.notice, "/somewhere/" + "a_long_folder_name/" * 20
    show_error(f"{folder} cannot be written.")
    assert notice.isVisible()
    assert notice.text.startswith("blob_000: /somewhere")
    QApplication.processEvents()
    assert notice.width() <= bench.panel.width()
    bench.press(notice.close_button, Qt.Key.Key_Space)
    assert notice.isHidden()
    show_error(f"{folder} cannot be written.")
    assert notice.isHidden()
    show_error("Something else.")
    assert notice.isVisible()
    bench.panel.next_image()
    bench.wait_for(NAMES[1])
    assert notice.isHidden()
    other = tmp_path / "other"
    shutil.copytree(bench.folder, other)
    output = WorkList(other).output
    output.mkdir(exist_ok=True)
    (output / "worklist.json").write_text("{ damaged")
    bench.shown.clear()
    bench.panel.open_folder(other)
    bench.wait_for(NAMES[0])
    assert "worklist.json" in notice.text
    assert notice.isVisible()
