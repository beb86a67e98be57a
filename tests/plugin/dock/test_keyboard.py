"""Which part of the window has the keyboard, and what the view shows, after a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from latentfm_core.prompts.field import extent
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.camera import camera_of
from tests.core.inference.test_following import images_of, moving_disc
from tests.helpers.pictures import disc_image
from tests.helpers.plugin_fixtures import PATIENCE, ending_of

Key = Qt.Key
LEFT = Qt.MouseButton.LeftButton
MIDDLE = 2


class Hands:
    """Mouse and keyboard at a window with a stack of five planes, of which the third is shown."""

    def __init__(self, viewer: Any, panel: LatentFMPanel, qtbot: Any) -> None:
        self.viewer, self.panel, self.qtbot = viewer, panel, qtbot
        planes = [image.pixels for image in images_of(moving_disc())]
        viewer.add_image(np.stack(planes), rgb=True, name="scan")
        viewer.dims.set_current_step(0, MIDDLE)
        with qtbot.waitActive(panel.window(), timeout=PATIENCE):
            panel.window().activateWindow()

    @property
    def canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas.native

    @property
    def plane(self) -> int:
        return int(self.viewer.dims.current_step[-3])

    def press(self, *keys: Any) -> None:
        """Press keys in whatever has the keyboard."""
        for key in keys:
            focus = QApplication.focusWidget()
            assert focus is not None, "nothing has the keyboard"
            self.qtbot.keyClick(focus, key)

    def click(self, button: Any) -> str:
        """Start a run by a click, and return how it ended."""
        start = lambda: self.qtbot.mouseClick(button, LEFT)  # noqa: E731
        return ending_of(self.qtbot, self.panel.sampling, start)

    def run(self) -> str:
        return self.click(self.panel.sampling.form.run_button.native)

    def check_arrows(self) -> None:
        """Check that the arrow keys move through the planes, and nothing else."""
        others = self.viewer.dims.current_step[:-3]
        self.press(Key.Key_Right)
        assert self.plane == MIDDLE + 1
        self.press(Key.Key_Left, Key.Key_Left)
        assert self.plane == MIDDLE - 1
        self.press(Key.Key_Right)
        assert (self.plane, self.viewer.dims.current_step[:-3]) == (MIDDLE, others)


@pytest.fixture
def hands(opened: Callable[..., Any], qtbot: Any, promptable_model_folder: Path) -> Hands:
    viewer, panel = opened(show=True)
    panel.sampling.form.model.choose(promptable_model_folder)
    return Hands(viewer, panel, qtbot)


def test_the_keyboard_goes_to_the_image_when_a_button_starts_a_run(hands: Hands) -> None:
    viewer, panel, qtbot = hands.viewer, hands.panel, hands.qtbot
    assert hands.run() == "done"
    assert hands.canvas.hasFocus()
    hands.check_arrows()
    QTest.mouseClick(hands.canvas, LEFT)
    hands.check_arrows()
    panel.sampling.form.plane_choice.planes.value = "0"
    assert hands.run() == "done"
    hands.check_arrows()
    # An object that is followed: the space bar must not press the next button of the section.
    section = panel.point
    section.tools.select("box")
    around = extent(moving_disc()[MIDDLE] == 1)
    assert around is not None
    top, left, bottom, right = around
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    viewer.layers.selection.active.add_rectangles(
        np.array([(MIDDLE, *corner) for corner in corners])
    )
    image = viewer.layers["scan"]
    qtbot.waitUntil(lambda: section._following.button.isEnabled(), timeout=30_000)
    assert hands.click(section._following.button) == "done"
    assert hands.canvas.hasFocus()
    known = len(section._book.all(image))
    hands.press(Key.Key_Space)
    assert len(section._book.all(image)) == known > 0
    hands.check_arrows()


def test_letters_choose_in_an_open_list_and_are_no_shortcuts(hands: Hands) -> None:
    viewer, box = hands.viewer, hands.panel.sampling.form.model.box
    layers = list(viewer.layers)
    for row in range(box.count()):
        # "B" is the tool for boxes elsewhere in the dock, and "?" lists all keys.
        box.setItemText(row, f"{'abc'[row % 3]} {row}")
    hands.qtbot.mouseClick(box, LEFT)
    hands.qtbot.waitUntil(box.view().hasFocus, timeout=PATIENCE)
    hands.press("b")
    assert list(viewer.layers) == layers
    assert box.view().currentIndex().data().startswith("b")
    hands.press(Key.Key_Escape)
    hands.qtbot.waitUntil(lambda: not box.view().isVisible(), timeout=PATIENCE)
    box.setFocus()
    hands.press("b")
    assert len(viewer.layers) > len(layers), "it is a shortcut again"


def test_the_view_goes_to_an_image_whose_result_would_be_out_of_sight(hands: Hands) -> None:
    viewer, camera = hands.viewer, camera_of(hands.viewer)
    photo = np.asarray(disc_image()).repeat(12, axis=0).repeat(12, axis=1)
    viewer.add_image(photo, name="photo")
    middle = np.array(photo.shape[:2]) / 2 - 0.5

    def fits() -> bool:
        sides = np.array(photo.shape[:2]) * camera.zoom
        seen = bool((sides <= (hands.canvas.height(), hands.canvas.width())).all())
        return seen and np.allclose(camera.center[-2:], middle)

    assert not fits()
    assert hands.run() == "done"
    assert fits()
    # A view that the user chose is kept.
    camera.zoom, camera.center = 8 * camera.zoom, (0, 100, 100)
    chosen = camera.zoom, camera.center
    assert hands.run() == "done"
    assert (camera.zoom, camera.center) == chosen
    camera.center = (0, -5000, -5000)
    assert hands.run() == "done"
    assert fits(), "nothing of it was in sight"
