"""Corrections of the annotation in a real window, with keys, mouse and napari's undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QPushButton

from latentfm_core.annotation.editing import Operation
from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.acceptance import mean_mask_problem
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.fixing.editor import LabelEditor
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.results.session import session_of
from tests.helpers.looks import SHAPE, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, disc_image

SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
PLAIN = Qt.KeyboardModifier.NoModifier
BIG, SPECK, HOLE, OTHER = (30, 24, 15), (12, 62, 5), (30, 24, 4), (48, 40, 8)


def pieces() -> np.ndarray:
    """A disc with a hole, and a small disc apart from it."""
    return (disc(*BIG) & ~disc(*HOLE)) | disc(*SPECK)


def other() -> np.ndarray:
    """A disc of another label that touches the large one."""
    return disc(*OTHER) & ~pieces()


class Desk:
    """A window with the dock, an image under review, keys and a mouse."""

    def __init__(self, viewer: Any, qtbot: Any, planes: int = 0) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        image = disc_image()
        if planes:
            image = np.stack([image[..., 0]] * planes)
        self.image = viewer.add_image(
            image,
            rgb=not planes,
            name="skin",
            scale=(3, 0.5, 0.25)[-(2 + bool(planes)) :],
            units="mm",
        )
        self.session = session_of(viewer)
        self.panel = open_dock(viewer)
        self.review, self.fix = self.panel.review, self.panel.review.fix
        self.panel.annotate.uncover("Fix")
        self.show_result()
        self.canvas = viewer.window._qt_viewer.canvas.native
        with qtbot.waitActive(self.panel.window(), timeout=PATIENCE):
            self.panel.window().activateWindow()

    def show_result(self) -> None:
        self.session.show(reviewed(self.image, self.viewer, np.stack([pieces()] * 3)))

    def annotate(self) -> Labels:
        """Annotate both labels on the plane under review; label 1 is selected."""
        write_labels(self.session, pieces())
        write_labels(self.session, other() * 2, classes=(2,))
        layer = self.layer
        layer.selected_label = 1
        return layer

    @property
    def layer(self) -> Labels:
        layer = annotation_of(self.session, create=False)
        assert layer is not None
        return layer

    def wait(self) -> None:
        self.qtbot.waitUntil(lambda: not self.fix.editor.busy, timeout=PATIENCE)

    def press(self, button: QPushButton) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        self.wait()

    def key(self, key: Any, modifier: Any = PLAIN) -> None:
        self.canvas.setFocus()
        self.qtbot.waitUntil(self.canvas.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(self.canvas, key, modifier)
        self.wait()

    def on_screen(self, row: float, column: float) -> QPoint:
        """Return the canvas position of a pixel of the image."""
        # Napari 0.9 moved the camera.
        camera = getattr(self.viewer, "scene", self.viewer).camera
        world = np.array(self.image.data_to_world((0,) * (self.image.ndim - 2) + (row, column)))
        y, x = (world[-2:] - np.array(camera.center)[-2:]) * camera.zoom
        return QPoint(round(self.canvas.width() / 2 + x), round(self.canvas.height() / 2 + y))

    def click(self, row: float, column: float) -> None:
        at = self.on_screen(row, column)
        self.qtbot.mouseMove(self.canvas, at)
        self.qtbot.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=at)
        QApplication.processEvents()
        self.wait()

    def drag(self, row: float, column: float) -> None:
        left, start = Qt.MouseButton.LeftButton, self.on_screen(row, column)
        self.qtbot.mousePress(self.canvas, left, pos=start)
        for step in range(1, 6):
            self.qtbot.mouseMove(self.canvas, start + QPoint(6 * step, 0))
            QApplication.processEvents()
        self.qtbot.mouseRelease(self.canvas, left, pos=start + QPoint(30, 0))
        self.wait()

    @property
    def cursor(self) -> str:
        return str(self.viewer.cursor.style)

    def undoes(self, before: np.ndarray) -> None:
        """Check that Ctrl+Z restores a state exactly, and redo the next one."""
        after = self.layer.data.copy()
        assert not np.array_equal(after, before)
        self.key(Qt.Key.Key_Z, CTRL)
        np.testing.assert_array_equal(self.layer.data, before)
        self.key(Qt.Key.Key_Z, CTRL | SHIFT)
        np.testing.assert_array_equal(self.layer.data, after)


@pytest.fixture
def desk(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Desk:
    return Desk(make_napari_viewer(show=True), qtbot)


def test_each_operation_is_one_undo_step_and_keeps_other_labels(desk: Desk) -> None:
    layer = desk.annotate()
    before = layer.data.copy()
    for key, modifier, button in (
        (Qt.Key.Key_B, SHIFT, desk.fix.largest_button),
        (Qt.Key.Key_F, SHIFT, desk.fix.fill_button),
        (Qt.Key.Key_S, SHIFT, desk.fix.smooth_button),
        (Qt.Key.Key_9, PLAIN, desk.fix.grow_button),
        (Qt.Key.Key_8, PLAIN, desk.fix.shrink_button),
    ):
        desk.press(button)
        assert "Ctrl+Z undoes it" in desk.fix.status.text()
        np.testing.assert_array_equal(layer.data == 2, other())
        by_button = layer.data.copy()
        desk.undoes(before)
        # The key does what the button does.
        layer.undo()
        desk.key(key, modifier)
        np.testing.assert_array_equal(layer.data, by_button)
        layer.undo()
        np.testing.assert_array_equal(layer.data, before)


def test_each_operation_reports_its_result(desk: Desk) -> None:
    layer = desk.annotate()
    desk.press(desk.fix.largest_button)
    np.testing.assert_array_equal(layer.data == 1, pieces() & ~disc(*SPECK))
    desk.press(desk.fix.fill_button)
    np.testing.assert_array_equal(layer.data == 1, disc(*BIG))
    desk.press(desk.fix.fill_button)
    assert desk.fix.status.text() == "There are no holes; nothing changed."
    desk.fix.grow_size.setValue(5)
    desk.press(desk.fix.grow_button)
    grown = layer.data == 1
    assert grown[30, 24 + 19]
    assert grown.sum() < disc(BIG[0], BIG[1], BIG[2] + 5.5).sum()
    desk.fix.grow_size.setValue(30)
    before = layer.data.copy()
    desk.press(desk.fix.shrink_button)
    assert "would leave nothing" in desk.fix.status.text()
    np.testing.assert_array_equal(layer.data, before)


# --- mouse tools --------------------------------------------------------------------------


def test_click_removes_pieces_until_escape(desk: Desk) -> None:
    layer = desk.annotate()
    before = layer.data.copy()
    desk.key(Qt.Key.Key_D, SHIFT)
    assert desk.cursor == "crosshair"
    assert desk.fix.tool_buttons["remove"].isChecked()
    assert "Esc" in desk.fix.status.text()
    assert "Esc" in layer.help
    desk.click(SPECK[0], SPECK[1])
    np.testing.assert_array_equal(layer.data == 1, pieces() & ~disc(*SPECK))
    np.testing.assert_array_equal(layer.data == 2, other())
    desk.undoes(before)
    # The tool stays active; outside the label it says what to do.
    after = layer.data.copy()
    desk.click(2, 2)
    assert "Click inside a piece" in desk.fix.status.text()
    np.testing.assert_array_equal(layer.data, after)
    # A piece of another label is removed as well, and its label is the selected one then.
    desk.click(OTHER[0] + 4, OTHER[1] + 4)
    assert not (layer.data == 2).any()
    assert layer.selected_label == 2
    desk.undoes(after)
    after = layer.data.copy()
    desk.key(Qt.Key.Key_Escape)
    assert desk.fix.tools.tool is None
    assert desk.cursor == "standard"
    assert not desk.fix.tool_buttons["remove"].isChecked()
    desk.click(BIG[0] - 10, BIG[1])
    np.testing.assert_array_equal(layer.data, after)


def test_click_keeps_one_piece(desk: Desk) -> None:
    layer = desk.annotate()
    before = layer.data.copy()
    desk.press(desk.fix.tool_buttons["keep"])
    assert desk.cursor == "pointing"
    # A click on the background changes nothing, and the tool stays active.
    reports: list[str] = []
    desk.fix.editor.reported.connect(reports.append)
    desk.click(2, 2)
    assert reports == ["There is no label here; nothing changed. Click inside a piece."]
    assert desk.fix.tools.tool == "keep"
    np.testing.assert_array_equal(layer.data, before)
    # The piece says which label is meant, also while the background is selected.
    layer.selected_label = 0
    desk.click(SPECK[0], SPECK[1])
    assert layer.selected_label == 1
    np.testing.assert_array_equal(layer.data == 1, disc(*SPECK))
    np.testing.assert_array_equal(layer.data == 2, other())
    desk.undoes(before)
    assert desk.fix.tools.tool is None


def test_dragging_moves_the_camera_and_removes_nothing(desk: Desk) -> None:
    layer = desk.annotate()
    before = layer.data.copy()
    desk.key(Qt.Key.Key_D, SHIFT)
    old = desk.on_screen(0, 0)
    desk.drag(SPECK[0], SPECK[1])
    np.testing.assert_array_equal(layer.data, before)
    assert desk.on_screen(0, 0) != old
    # A moved layer is hit at its new position.
    desk.click(SPECK[0], SPECK[1])
    np.testing.assert_array_equal(layer.data == 1, pieces() & ~disc(*SPECK))


def test_other_tools_and_layers_deactivate_the_tool(desk: Desk) -> None:
    layer = desk.annotate()
    before = layer.data.copy()

    def take_brush() -> None:
        desk.press(desk.fix.hand_buttons[0])
        assert layer.mode == "paint"
        assert desk.cursor == "circle"

    def choose_layer() -> None:
        desk.viewer.layers.selection.active = desk.image

    def press_again() -> None:
        desk.press(desk.fix.tool_buttons["keep"])

    def take_other() -> None:
        desk.press(desk.fix.tool_buttons["remove"])
        assert desk.fix.tools.tool == "remove"
        assert not desk.fix.tool_buttons["keep"].isChecked()
        desk.fix.tools.deactivate()

    def press_escape() -> None:
        desk.fix.grow_size.setFocus()
        desk.qtbot.keyClick(desk.fix.grow_size, Qt.Key.Key_Escape)

    for end in (take_brush, choose_layer, press_again, take_other, press_escape):
        desk.press(desk.fix.tool_buttons["keep"])
        assert desk.fix.tools.tool == "keep"
        end()
        assert desk.fix.tools.tool is None
        assert layer.cursor != "pointing"
        layer.mode = "pan_zoom"
        desk.click(SPECK[0], SPECK[1])
        np.testing.assert_array_equal(layer.data, before)


def test_napari_tools_are_activated_on_the_annotation(desk: Desk) -> None:
    layer = desk.annotate()
    for button, mode in zip(desk.fix.hand_buttons, ("paint", "polygon", "erase"), strict=False):
        desk.viewer.layers.selection.active = desk.image
        layer.visible = False
        desk.press(button)
        assert layer.visible
        assert layer.mode == mode
        assert desk.viewer.layers.selection.active is layer


# --- what it works on ---------------------------------------------------------------------


def test_the_first_operation_starts_from_the_mean_mask(desk: Desk) -> None:
    assert "takes the mean mask" in desk.fix.about.text()
    desk.session.renewing = True
    desk.press(desk.fix.largest_button)
    assert "run is still in progress" in desk.fix.status.text()
    assert annotation_of(desk.session, create=False) is None
    desk.session.renewing = False
    desk.press(desk.fix.largest_button)
    layer = desk.layer
    np.testing.assert_array_equal(layer.data == 1, pieces() & ~disc(*SPECK))
    assert "Label 1, cell" in desk.fix.about.text()
    desk.key(Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(layer.data == 1, pieces())
    desk.key(Qt.Key.Key_Z, CTRL)
    assert not layer.data.any()
    # After Undo, all is as it was before.
    desk.press(desk.fix.largest_button)
    np.testing.assert_array_equal(layer.data == 1, pieces() & ~disc(*SPECK))


def test_empty_mean_mask_and_background_label(desk: Desk) -> None:
    desk.session.show(reviewed(desk.image, desk.viewer, np.zeros((3, *SHAPE), bool)))
    desk.press(desk.fix.smooth_button)
    assert "Paint first" in desk.fix.status.text()
    layer = desk.annotate()
    layer.selected_label = 0
    desk.press(desk.fix.smooth_button)
    assert "Label 0 is the background" in desk.fix.status.text()
    layer.selected_label = 2
    assert "Label 2" in desk.fix.about.text()
    desk.press(desk.fix.grow_button)
    np.testing.assert_array_equal(layer.data == 1, pieces())
    assert (layer.data == 2).sum() > other().sum()


def test_a_locked_annotation_or_nothing_under_review_does_not_change(desk: Desk) -> None:
    layer = desk.annotate()
    layer.editable = False
    before = layer.data.copy()
    desk.press(desk.fix.fill_button)
    assert "locked" in desk.fix.status.text()
    np.testing.assert_array_equal(layer.data, before)
    layer.editable = True
    desk.press(desk.fix.tool_buttons["keep"])
    desk.session.show(None)
    assert not desk.fix.isEnabled()
    assert desk.fix.tools.tool is None
    for press in desk.fix.key_actions().values():
        press()
    assert "Run the model" in desk.fix.status.text()


def test_in_a_stack_only_the_plane_on_screen_changes(
    make_napari_viewer: Callable[..., Any], qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    desk = Desk(viewer, qtbot, planes=4)
    for plane in (1, 2):
        viewer.dims.set_current_step(0, plane)
        desk.show_result()
        layer = desk.annotate()
    before = layer.data.copy()
    # Samples of plane 2 are under review; plane 1 is on screen.
    viewer.dims.set_current_step(0, 1)
    desk.review.annotation.take_mean_mask()
    assert "belong to plane [2], which is not on screen" in desk.review.annotation.status.text()
    assert "not on screen" in mean_mask_problem(desk.session, "No lesion")
    desk.review.hypotheses.choose(0)
    assert "not on screen" in desk.review.hypotheses.status.text()
    np.testing.assert_array_equal(layer.data, before)
    desk.press(desk.fix.fill_button)
    np.testing.assert_array_equal(layer.data[1] == 1, disc(*BIG) | disc(*SPECK))
    np.testing.assert_array_equal(np.delete(layer.data, 1, 0), np.delete(before, 1, 0))
    desk.press(desk.fix.tool_buttons["remove"])
    desk.click(SPECK[0], SPECK[1])
    np.testing.assert_array_equal(layer.data[1] == 1, disc(*BIG))
    # Undo finds its plane again, whichever is on screen.
    viewer.dims.set_current_step(0, 3)
    layer.undo()
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    desk.press(desk.fix.fill_button)
    assert "neither an annotation nor samples" in desk.fix.status.text()
    np.testing.assert_array_equal(layer.data, before)


# --- while it is computed -----------------------------------------------------------------


def test_painting_during_an_operation_is_not_lost(desk: Desk) -> None:
    layer = desk.annotate()
    desk.fix.fill_holes()
    assert desk.fix.editor.busy
    # The result comes through the event loop, which has not run since.
    with layer.block_history():
        layer.data_setitem((np.full(4, 30), np.arange(23, 27)), 3)
    desk.wait()
    assert (layer.data[30, 23:27] == 3).all()
    filled = layer.data == 1
    assert filled[disc(*HOLE)].sum() == disc(*HOLE).sum() - 4


def test_operations_run_in_order_and_cancel_discards_them(desk: Desk) -> None:
    layer = desk.annotate()
    desk.fix.fill_holes()
    desk.fix.keep_largest()
    desk.wait()
    np.testing.assert_array_equal(layer.data == 1, disc(*BIG))
    before = layer.data.copy()
    desk.fix.grow()
    desk.fix.smooth()
    assert desk.session.work.busy
    desk.session.work.cancel()
    desk.qtbot.wait(300)
    np.testing.assert_array_equal(layer.data, before)
    assert "Cancelled" in desk.fix.status.text()
    assert not desk.session.work.busy


@pytest.mark.parametrize("change", ["locked", "reshaped"])
def test_an_annotation_that_changes_during_an_operation_is_not_overwritten(
    qtbot: Any, change: str
) -> None:
    viewer = ViewerModel()
    editor, layer, reports = editor_without_window(viewer)
    editor.do(Operation("fill"))
    if change == "locked":
        layer.editable = False
    else:
        layer.data = np.ones((9, 9), np.uint8)
    before = layer.data.copy()
    qtbot.waitUntil(lambda: not editor.busy, timeout=PATIENCE)
    np.testing.assert_array_equal(layer.data, before)
    assert reports[-1] == "working: False"
    assert change != "locked" or "locked" in reports[-2]


def test_a_failed_operation_is_reported_and_the_next_one_runs(qtbot: Any) -> None:
    viewer = ViewerModel()
    editor, layer, reports = editor_without_window(viewer)
    editor.do(Operation("cut"))  # type: ignore[arg-type]  # a bug
    editor.do(Operation("fill"))
    qtbot.waitUntil(lambda: not editor.busy, timeout=PATIENCE)
    assert "bug in napari-latentfm" in reports[1]
    assert (layer.data[disc(*HOLE)] == 1).all()


def editor_without_window(viewer: ViewerModel) -> tuple[LabelEditor, Labels, list[str]]:
    """Return an editor, the annotation of `pieces`, and a list of what the editor reports."""
    reports: list[str] = []
    image = viewer.add_image(np.zeros(SHAPE, np.uint8))
    session = session_of(viewer)
    session.show(reviewed(image, viewer, np.stack([pieces()] * 3)))
    write_labels(session, pieces())
    layer = annotation_of(session, create=False)
    assert layer is not None
    editor = LabelEditor(session)
    editor.reported.connect(reports.append)
    editor.working.connect(lambda working: reports.append(f"working: {working}"))
    return editor, layer, reports


def test_removing_the_layer_during_an_operation_ends_it(desk: Desk) -> None:
    layer = desk.annotate()
    desk.fix.fill_holes()
    desk.viewer.layers.remove(layer)
    desk.wait()
    np.testing.assert_array_equal(layer.data == 1, pieces())
    assert annotation_of(desk.session, create=False) is None
    assert "takes the mean mask" in desk.fix.about.text()


def test_corrections_are_autosaved_and_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 100)
    layer = desk.annotate()
    desk.qtbot.waitUntil(lambda: bool(desk.review.annotation.kept.text()), timeout=PATIENCE)
    times: list[str] = []
    desk.review.annotation.autosaver.kept.connect(times.append)
    strokes = record_of(layer).strokes
    desk.press(desk.fix.fill_button)
    desk.qtbot.waitUntil(lambda: bool(times), timeout=PATIENCE)
    assert record_of(layer).strokes == strokes + 1


def test_a_deleted_panel_receives_no_calls(desk: Desk) -> None:
    layer = desk.annotate()
    desk.press(desk.fix.tool_buttons["keep"])
    desk.fix.grow()
    desk.viewer.window.remove_dock_widget(desk.panel)
    gone: list[bool] = []
    desk.panel.destroyed.connect(lambda: gone.append(True))
    desk.panel.deleteLater()
    desk.qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)
    layer.selected_label = 2
    desk.show_result()
    desk.viewer.layers.remove(layer)
    desk.qtbot.wait(50)
