"""A window has one dock, whichever menu entry is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDockWidget, QMenu

from napari_latentfm.dock import small_screen
from napari_latentfm.dock.entries import NAME, dock_of, open_dock
from napari_latentfm.dock.panel import COMPARE, LatentFMPanel
from napari_latentfm.layers.specs import confidence_colormap
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, run

ENTRIES = [
    "LatentFM",
    "Sample segmentation",
    "Review samples",
    "Work through a folder",
    "Learn from corrections",
]


def entry(menu: QMenu, text: str) -> Any:
    menu.aboutToShow.emit()
    for action in menu.actions():
        if action.text() == text:
            return action
        if action.menu() is not None and (found := entry(action.menu(), text)) is not None:
            return found
    return None


def docks(viewer: Any) -> list[QDockWidget]:
    """Return the docks of the window that are not napari's own."""
    own = {"layer controls", "layer list", "console", "performance"}
    found = viewer.window._qt_window.findChildren(QDockWidget)
    return [dock for dock in found if dock.objectName() not in own]


def wait_for_one(viewer: Any, qtbot: Any) -> QDockWidget:
    """Wait until the temporary docks of the menu entries are gone."""
    qtbot.waitUntil(lambda: len(docks(viewer)) == 1, timeout=PATIENCE)
    (dock,) = docks(viewer)
    assert dock.objectName() == NAME
    assert len(viewer.window._qt_window.findChildren(LatentFMPanel)) == 1
    return dock


def test_the_plugin_menu_starts_with_the_dock(plugin: Any, make_napari_viewer: Any) -> None:
    menu = make_napari_viewer().window.plugins_menu
    menu.aboutToShow.emit()
    (ours,) = (a.menu() for a in menu.actions() if a.menu() is not None and a.text() == NAME)
    ours.aboutToShow.emit()
    texts = [action.text().removesuffix(" (LatentFM)") for action in ours.actions()]
    assert texts[0] == "LatentFM"
    assert set(texts) == set(ENTRIES)


def test_every_entry_opens_the_one_dock_at_its_section(
    plugin: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    menu = viewer.window.plugins_menu
    pages = {}
    for text in [*ENTRIES, *ENTRIES]:
        entry(menu, f"{text} (LatentFM)").trigger()
        wait_for_one(viewer, qtbot)
        panel = dock_of(viewer)
        assert panel is not None
        pages[text] = panel.tabs.tabText(panel.tabs.currentIndex())
        if text == "Review samples":
            assert panel.sections[COMPARE].opened
            panel.sections[COMPARE].set_opened(False)
    assert pages == {
        "LatentFM": "Learn",  # as it was left
        "Sample segmentation": "Annotate",
        "Review samples": "Annotate",
        "Work through a folder": "Folder",
        "Learn from corrections": "Learn",
    }


def test_a_script_gets_the_part_it_requests(
    plugin: Any, make_napari_viewer: Any, tiny_model_folder: Any, qtbot: Any
) -> None:
    """As when each entry was a separate dock."""
    viewer = make_napari_viewer()
    viewer.add_image(disc_image(), name="photo")
    name = "napari-latentfm"
    _, sampling = viewer.window.add_plugin_dock_widget(name, "Sample segmentation")
    _, review = viewer.window.add_plugin_dock_widget(name, "Review samples")
    _, dock = viewer.window.add_plugin_dock_widget(name, "LatentFM")
    wait_for_one(viewer, qtbot)
    assert dock.tabs.count() == 3
    sampling.form.model.choose(tiny_model_folder)
    sampling.form.steps.value = 2
    assert run(qtbot, sampling) == "done"
    qtbot.waitUntil(lambda: bool(review.hypotheses.hypotheses), timeout=PATIENCE)


def test_a_hidden_or_closed_dock_is_shown_again(
    plugin: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    panel = open_dock(viewer)
    (dock,) = docks(viewer)
    for floating in (False, True):
        dock.setFloating(floating)
        for button in ("hide_button", "close_button"):
            qtbot.mouseClick(getattr(dock.titleBarWidget(), button), Qt.MouseButton.LeftButton)
            assert not panel.isVisible()
            assert not viewer.keymap, "the keys are given back"
            entry(viewer.window.plugins_menu, "LatentFM (LatentFM)").trigger()
            wait_for_one(viewer, qtbot)
            assert panel.isVisible()
            assert dock_of(viewer) is panel
            assert viewer.keymap


def test_a_window_that_closes_at_once_raises_no_error(
    plugin: Any, make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    with qtbot.captureExceptions() as errors:
        entry(viewer.window.plugins_menu, "LatentFM (LatentFM)").trigger()
        viewer.close()
        qtbot.wait(20)
    assert errors == []


def test_the_dock_can_be_closed_and_reopened(opened: Callable[..., Any], qtbot: Any) -> None:
    viewer, panel = opened()
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    keys = set(viewer.keymap)
    assert len(keys) > 15
    gone: list[bool] = []
    panel.destroyed.connect(lambda: gone.append(True))
    viewer.window.remove_dock_widget(panel)
    assert not viewer.keymap, "the keys are given back"
    assert dock_of(viewer) is None
    del panel
    qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)
    again = open_dock(viewer)
    wait_for_one(viewer, qtbot)
    assert set(viewer.keymap) == keys
    # What was drawn is still under review.
    qtbot.waitUntil(lambda: bool(again.review.hypotheses.hypotheses), timeout=PATIENCE)
    assert again.sampling.form.image.value is viewer.layers["photo"]
    # The results of an image that the dock has hidden are shown with it, by another dock, too.
    mask = viewer.layers["photo · mean mask"]
    again.review.hypotheses.view.look.hide_proposals()
    viewer.add_image(disc_image(), name="over")
    again.chosen.settle()
    viewer.layers["photo"].visible = False
    viewer.window.remove_dock_widget(again)
    assert not mask.visible
    last = open_dock(viewer)
    viewer.layers.selection.active = viewer.layers["photo"]
    last.chosen.settle()
    assert viewer.layers["photo"].visible
    assert mask.visible


def test_two_windows_have_two_docks(make_napari_viewer: Any) -> None:
    first, second = make_napari_viewer(), make_napari_viewer()
    one, other = open_dock(first), open_dock(second)
    assert one is not other
    assert open_dock(first) is one
    assert open_dock(second) is other


@pytest.mark.parametrize("docked", [True, False])
def test_the_panels_work_without_the_dock(make_napari_viewer: Any, docked: bool) -> None:
    viewer = make_napari_viewer()
    panel = SamplingPanel(viewer)
    if docked:
        viewer.window.add_dock_widget(panel, name="alone")
    assert panel.form.steps.native.parentWidget() is not None
    assert dock_of(viewer) is None


@pytest.mark.styled
def test_on_a_small_screen_all_docks_are_tabs(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side they would make the window larger than the screen."""
    wide = make_napari_viewer(show=True)
    open_dock(wide)
    (dock,) = docks(wide)
    assert wide.window._qt_window.tabifiedDockWidgets(dock) == []
    monkeypatch.setattr(small_screen, "LEAST_HEIGHT", 100_000)
    small = make_napari_viewer(show=True)
    panel = open_dock(small)
    (dock,) = docks(small)
    names = {each.objectName() for each in small.window._qt_window.tabifiedDockWidgets(dock)}
    assert names == {"layer controls", "layer list"}
    assert panel.isVisible()
    # The controls of a result, which are in a tab as well, do not make the dock wider.
    QApplication.processEvents()
    width = dock.width()
    small.add_image(np.zeros((9, 9), np.uint8), colormap=confidence_colormap())
    QApplication.processEvents()
    assert dock.width() == width
    # The next session begins with this place, and may have a larger screen.
    monkeypatch.setattr(small_screen, "LEAST_HEIGHT", 640)
    left, right = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
    window = small.window._qt_window
    assert window.dockWidgetArea(dock) == left
    small_screen.fit(dock)
    assert window.dockWidgetArea(dock) == right
    # A place that the user chose stays.
    window.addDockWidget(left, dock)
    small_screen.fit(dock)
    assert window.dockWidgetArea(dock) == left
