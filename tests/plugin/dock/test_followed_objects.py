"""Two objects that follow the same disc through a stack are neither lost nor miscounted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.dock.panel import LatentFMPanel
from tests.core.inference.test_following import images_of, moving_disc
from tests.helpers.plugin_fixtures import PATIENCE

COUNT = 3
BOXES = ((15, 11, 37, 33), (16, 13, 38, 35))
"""Boxes around the disc on the first plane, for one object each."""


class Stack:
    """A window with the moving disc, at its first plane."""

    def __init__(self, opened: Callable[..., Any], model: Path, qtbot: Any) -> None:
        self.viewer, self.panel = opened(show=True)
        self.qtbot = qtbot
        self.panel.sampling.form.model.choose(model)
        pixels = np.stack([image.pixels for image in images_of(moving_disc(COUNT))])
        self.layer = self.viewer.add_image(pixels, rgb=True, name="scan")
        self.to_plane(0)

    @property
    def point(self) -> Any:
        panel: LatentFMPanel = self.panel
        return panel.point

    @property
    def message(self) -> str:
        return str(self.panel.footer.message.text())

    def to_plane(self, number: int) -> None:
        self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, number)
        self.settle()

    def settle(self) -> None:
        def is_quiet() -> bool:
            timers = (self.point._settle, self.point._refresh)
            busy = self.point._runner.busy or self.panel.sampling.job.busy
            return not (busy or any(timer.isActive() for timer in timers))

        self.qtbot.waitUntil(is_quiet, timeout=PATIENCE)

    def follow(self, box: tuple[int, int, int, int]) -> None:
        """Draw a box for a new object on the first plane, and follow the object."""
        self.point.tools.select("box")
        self.point.tools.new_object()
        top, left, bottom, right = box
        sides = ((top, left), (top, right), (bottom, right), (bottom, left))
        corners = np.array([(0, *side) for side in sides], float)
        before = len(self.point._book.all(self.layer))
        self.viewer.layers.selection.active.add_rectangles(corners)
        self.qtbot.waitUntil(
            lambda: len(self.point._book.all(self.layer)) > before, timeout=PATIENCE
        )
        self.settle()
        self.point._following.start()
        self.settle()

    def asks_about_lost_pixels(self) -> None:
        """Accept; the question has the pixels that object 2 has really lost."""
        self.panel.accept()
        annotation = annotation_of(self.panel.session, create=False)
        assert annotation is not None
        objects = self.point._book.everywhere(self.layer, 2)
        outlined = sum(one.mask.pixels for one in objects)
        lost = outlined - np.count_nonzero(annotation.data == 2)
        assert lost > outlined / 2
        about = f"{lost:,} of {outlined:,} pixels in the outline of object 2 on planes"
        assert f"{about} [0], [1], [2] have other labels." in self.message
        assert "press Ctrl+Z, and untick the object that is wrong in" in self.message


def test_objects_on_the_same_disc_ask_before_one_is_lost_and_count_once(
    opened: Callable[..., Any], promptable_model_folder: Path, qtbot: Any
) -> None:
    first = Stack(opened, promptable_model_folder, qtbot)
    for box in BOXES:
        first.follow(box)
    assert len(first.point.untaken(first.layer)) == 2 * COUNT
    first.asks_about_lost_pixels()
    annotation = annotation_of(first.panel.session, create=False)
    assert annotation is not None
    annotation.undo()
    first.settle()
    assert not annotation.data.any()
    first.panel.accept_empty()
    assert "2 objects are outlined in this image" in first.panel.footer.notice.text
    first.viewer.window._qt_window.hide()  # what a closing window does first

    later = Stack(opened, promptable_model_folder, qtbot)
    bar = later.panel._left.marks.bar
    qtbot.waitUntil(bar.isVisible, timeout=PATIENCE)
    assert bar.text.text().startswith("2 objects on scan (3 planes), marked")
    qtbot.mouseClick(bar.recover, Qt.MouseButton.LeftButton)
    later.settle()
    later.panel.accept()
    assert "of objects 1 and 2 on planes [1], [2] are not drawn yet" in later.message
    for number in range(1, COUNT):
        later.to_plane(number)
        later.point.form.again_button.click()
        later.settle()
    later.asks_about_lost_pixels()
    later.panel.accept()
    assert "on 3 planes in 'scan · annotation'" in later.message
