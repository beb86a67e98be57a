"""The canvas while overlays are hidden, faded and shown again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from latentfm_core.progress import finish
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.layers.edits import EditedLayers
from napari_latentfm.layers.specs import MEAN_COLOUR
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import show_result_steps
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc, reviewed, two_looks
from tests.helpers.plugin_fixtures import PATIENCE

Key = Qt.Key
SHIFT, PLAIN = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier


class Window:
    """A viewer with a result on an image, and the dock."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.panel = open_dock(viewer)
        self.hypotheses = self.panel.review.hypotheses
        pixels = np.full((*SHAPE, 3), 90, np.uint8)
        pixels[:, ::2] = 70
        self.image = viewer.add_image(pixels, rgb=True, name="skin")
        viewer.reset_view()
        self.review()
        self.bare = self.seen_without_layers()

    @property
    def controls(self) -> Any:
        return self.hypotheses.view

    def review(self) -> None:
        found = reviewed(self.image, self.viewer, two_looks())
        finish(show_result_steps(self.viewer, found, lambda _names: EditedLayers.KEEP))
        self.qtbot.waitUntil(lambda: bool(self.hypotheses.hypotheses), timeout=PATIENCE)

    def seen(self) -> np.ndarray:
        """Return the pixels of the canvas as displayed."""
        QApplication.processEvents()
        return np.asarray(self.viewer.screenshot(canvas_only=True, flash=False))[..., :3]

    def seen_without_layers(self) -> np.ndarray:
        """Return the pixels of the canvas with only the image visible."""
        shown = [x for x in self.viewer.layers if x.visible and x is not self.image]
        for layer in shown:
            layer.visible = False
        bare = self.seen()
        for layer in shown:
            layer.visible = True
        return bare

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = PLAIN) -> None:
        canvas = self.viewer.window._qt_viewer.canvas.native
        self.panel.window().activateWindow()
        canvas.setFocus()
        self.qtbot.waitUntil(canvas.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(canvas, key, modifier)


@pytest.fixture
def window(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Window:
    return Window(make_napari_viewer(show=True), qtbot)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other))


def test_the_plain_image_is_shown_and_overlays_are_restored(window: Window) -> None:
    before = window.seen()
    assert not same(before, window.bare)
    window.press(Key.Key_0)
    assert same(window.seen(), window.bare)
    assert window.controls.plain_button.isChecked()
    window.press(Key.Key_0)
    assert same(window.seen(), before)
    assert not window.controls.plain_button.isChecked()
    # Layers hidden with an image are shown when it returns.
    session = window.panel.session
    first = session.current
    window.press(Key.Key_0)
    session.show(None)
    session.show(first)
    assert same(window.seen(), before)
    # So is a new result, whatever was hidden.
    window.press(Key.Key_0)
    window.press(Key.Key_Q, SHIFT)
    window.review()
    assert same(window.seen(), before)
    # A layer that the user hid stays hidden.
    window.viewer.layers["skin · samples"].visible = False
    before = window.seen()
    window.press(Key.Key_0)
    window.press(Key.Key_0)
    assert same(window.seen(), before)


def test_opacity_fades_everything_and_is_restored(window: Window) -> None:
    before, slider = window.seen(), window.controls.opacity
    slider.setFocus()
    window.qtbot.keyClick(slider, Key.Key_Home)
    assert same(window.seen(), window.bare)
    window.qtbot.keyClick(slider, Key.Key_End)
    assert same(window.seen(), before)
    # The legend names the colours on the canvas.
    text = window.controls.legend.text()
    assert f'<span style="color:{MEAN_COLOUR}">■</span>&nbsp;mean&nbsp;mask' in text
    assert contains(before, MEAN_COLOUR)
    assert not contains(window.bare, MEAN_COLOUR)
    # An outline of another hypothesis is a preview only.
    for _ in range(2):
        window.press(Key.Key_H)
    assert not same(window.seen(), before)
    assert window.hypotheses.chosen is not None
    mask = two_looks()[window.hypotheses.chosen.medoid]
    assert same(mask, disc(*SMALL))
    window.press(Key.Key_Q)
    assert same(window.seen(), before)


def test_accepting_a_proposal_hides_the_others_and_keeps_the_annotation(window: Window) -> None:
    write_labels(session_of(window.viewer), disc(*LARGE))
    taken = window.seen()
    assert not window.controls.proposals_button.isChecked()
    assert not window.viewer.layers["skin · mean mask"].visible
    window.press(Key.Key_Q, SHIFT)
    assert not same(window.seen(), taken)
    assert window.viewer.layers["skin · mean mask"].visible
    window.press(Key.Key_Q, SHIFT)
    assert same(window.seen(), taken)
    assert not same(taken, window.bare)


def test_closing_the_dock_shows_what_was_hidden_on_every_image(window: Window) -> None:
    skin = window.image
    before = [layer.name for layer in window.viewer.layers if layer.visible]
    assert "skin · mean mask" in before
    window.press(Key.Key_0)
    # The results of an image that is hidden itself would cover the others.
    window.image = window.viewer.add_image(skin.data, rgb=True, name="hidden")
    window.review()
    window.press(Key.Key_0)
    window.image.visible = False
    # Another image is under review when the dock closes.
    window.panel.session.show(None)
    assert not window.viewer.layers["skin · mean mask"].visible
    window.viewer.window.remove_dock_widget(window.panel)
    assert [layer.name for layer in window.viewer.layers if layer.visible] == before


def contains(picture: np.ndarray, colour: str) -> bool:
    """Return whether some pixels have nearly a colour."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return bool((np.abs(picture.astype(int) - wanted).max(axis=-1) < 40).any())
