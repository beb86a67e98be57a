"""An annotation that was not exported is offered before any run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton

from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.autosave_service import BANNER
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, run

Open = Callable[..., tuple[Any, LatentFMPanel]]


@pytest.fixture
def left_behind(opened: Open, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Annotate in a window without exporting; return the labels."""
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 50)
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    panel.review.annotation.take_mean_mask()
    qtbot.waitUntil(lambda: panel.footer.kept.text().startswith("Autosaved"), timeout=PATIENCE)
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    return np.array(layer.data)


def with_image(
    opened: Open, model: Path, pixels: np.ndarray, name: str
) -> tuple[Any, LatentFMPanel]:
    """Open a window and its dock with a model and an image."""
    viewer, panel = opened(show=True)
    panel.sampling.form.model.choose(model)
    viewer.add_image(pixels, name=name)
    return viewer, panel


def test_marks_of_an_image_outside_a_list_are_offered(
    opened: Open, qtbot: Any, promptable_model_folder: Path
) -> None:
    window = partial(with_image, opened, promptable_model_folder, disc_image(), "photo")
    first, left = window()
    left.point.tools.select("box")
    first.layers.selection.active.add_rectangles(np.array([[5.0, 5.0], [25.0, 25.0]]))
    qtbot.waitUntil(lambda: bool(left.point.untaken(first.layers["photo"])), timeout=PATIENCE)
    first.window._qt_window.hide()
    viewer, panel = window()
    image, bar = viewer.layers["photo"], panel._left.marks.bar
    qtbot.waitUntil(bar.isVisible, timeout=PATIENCE)
    assert "1 object on photo" in bar.text.text()
    assert not panel.point.has_objects(image)
    # New marks and another image do not end the offer.
    panel.point.tools.select("box")
    viewer.layers.selection.active.add_rectangles(np.array([[35.0, 35.0], [55.0, 55.0]]))
    qtbot.waitUntil(lambda: panel.point.has_objects(image), timeout=PATIENCE)
    qtbot.waitUntil(lambda: not panel.point._runner.busy, timeout=PATIENCE)
    viewer.add_image(255 - disc_image(), name="other")
    qtbot.waitUntil(lambda: not bar.isVisible(), timeout=PATIENCE)
    panel.sampling.form.image.value = image
    qtbot.waitUntil(bar.isVisible, timeout=PATIENCE)
    qtbot.mouseClick(bar.recover, Qt.MouseButton.LeftButton)
    new, one = panel.point._book.all(image)
    assert new.prompt.box == (35.5, 35.5, 55.5, 55.5)
    assert one.prompt.box == (5.5, 5.5, 25.5, 25.5)
    assert not bar.isVisible()
    qtbot.waitUntil(lambda: one.answered and not panel.point._runner.busy, timeout=PATIENCE)


def test_recovered_marks_of_a_stack_are_drawn_when_their_plane_is_on_screen(
    opened: Open, qtbot: Any, promptable_model_folder: Path
) -> None:
    pixels = np.stack([disc_image()] * 3)
    window = partial(with_image, opened, promptable_model_folder, pixels, "scan")
    first, left = window()
    for plane in (0, 2):
        first.dims.set_current_step(first.dims.ndim - 3, plane)
        left.point.tools.select("box")
        corners = np.array([[plane, *at] for at in ((5, 5), (5, 25), (25, 25), (25, 5))], float)
        first.layers.selection.active.add_rectangles(corners)
        count = plane // 2 + 1
        qtbot.waitUntil(
            lambda n=count: len(left.point.untaken(first.layers["scan"])) == n, timeout=PATIENCE
        )
    first.window._qt_window.hide()
    viewer, panel = window()
    bar = panel._left.marks.bar
    qtbot.waitUntil(bar.isVisible, timeout=PATIENCE)
    assert "(2 planes)" in bar.text.text()
    viewer.dims.set_current_step(0, 0)
    qtbot.mouseClick(bar.recover, Qt.MouseButton.LeftButton)
    one, other = panel.point._book.all(viewer.layers["scan"])
    qtbot.waitUntil(lambda: one.answered and not panel.point._runner.busy, timeout=PATIENCE)
    assert not other.answered
    viewer.dims.set_current_step(viewer.dims.ndim - 3, 2)
    qtbot.waitUntil(lambda: other.answered and not panel.point._runner.busy, timeout=PATIENCE)


def banner(panel: LatentFMPanel) -> Any:
    """Return napari's dock across the top of the window, or None."""
    docks = panel.window().findChildren(object, BANNER)
    return docks[0] if docks and docks[0].isVisible() else None


def test_recovery_is_offered_in_any_opening_order_and_precedes_a_run(
    left_behind: np.ndarray, opened: Open, make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(disc_image(), name="photo")
    panel = open_dock(viewer)
    qtbot.waitUntil(lambda: banner(panel) is not None, timeout=PATIENCE)
    offer = panel.review.annotation.recovery.offer
    assert offer is not None
    np.testing.assert_array_equal(offer.labels, left_behind)
    viewer.layers.remove("photo")
    qtbot.waitUntil(lambda: banner(panel) is None, timeout=PATIENCE)
    # The user closes the bar; the next offer gets a new one.
    (dock,) = panel.window().findChildren(object, BANNER)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not panel.window().findChildren(object, BANNER), timeout=PATIENCE)
    # It is not offered for another image.
    viewer.add_image(255 - disc_image(), name="other")
    qtbot.waitUntil(lambda: not panel.review.annotation.autosaver.work.busy, timeout=PATIENCE)
    assert banner(panel) is None
    viewer.add_image(disc_image(), name="photo")
    qtbot.waitUntil(lambda: banner(panel) is not None, timeout=PATIENCE)
    assert panel.session.current is None
    # Enter would archive what is offered.
    for act in (panel.accept, panel.accept_empty):
        panel.footer.clear()
        act()
        assert "Recover, compare or discard it first" in panel.footer.message.text()
    buttons = banner(panel).findChildren(QPushButton)
    assert buttons[0].isVisible()
    (recover,) = [button for button in buttons if button.text() == "Recover"]
    qtbot.mouseClick(recover, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "photo · annotation" in viewer.layers, timeout=PATIENCE)
    qtbot.waitUntil(lambda: banner(panel) is None, timeout=PATIENCE)
    np.testing.assert_array_equal(viewer.layers["photo · annotation"].data, left_behind)
    assert panel.footer.message.text() == "Recovered. Ctrl+Z undoes it."


def test_recovering_reports_what_was_painted_beside_the_offer_and_undo_brings_it_back(
    left_behind: np.ndarray, opened: Open, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    qtbot.waitUntil(lambda: banner(panel) is not None, timeout=PATIENCE)
    assert run(qtbot, panel.sampling) == "done"
    panel.review.annotation.paint()
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    layer.brush_size = 9
    with qtbot.waitActive(panel.window(), timeout=PATIENCE):
        panel.window().activateWindow()
    layer.paint((8, 8), 1)
    painted = layer.data.copy()
    count = np.count_nonzero((painted > 0) & (painted != left_behind))
    assert count > 0
    (recover,) = [
        button for button in banner(panel).findChildren(QPushButton) if button.text() == "Recover"
    ]
    qtbot.mouseClick(recover, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: banner(panel) is None, timeout=PATIENCE)
    np.testing.assert_array_equal(layer.data, left_behind)
    said = f"Recovered. It replaced {count:,} painted pixels; Ctrl+Z brings them back."
    qtbot.waitUntil(lambda: panel.footer.message.text() == said, timeout=PATIENCE)
    focus = QApplication.focusWidget()
    assert focus is not None, "nothing has the keyboard"
    qtbot.keyClick(focus, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, painted)
