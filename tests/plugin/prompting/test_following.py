"""An object followed through the planes of a stack, with a real mouse in a real window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.metrics.overlap import dice
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.autosave_service import autosave_service_of
from napari_latentfm.annotation.file_export import signature_of
from napari_latentfm.annotation.writing import edited_pixels
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.results.session import session_of
from tests.core.inference.test_following import images_of, moving_disc
from tests.helpers.plugin_fixtures import PATIENCE
from tests.helpers.pointing import CTRL, LEFT, SHIFT, Open, Pointer, point

Key = Qt.Key
__all__ = ["point"]
COUNT = 4


@pytest.fixture
def labels() -> list[NDArray[np.uint8]]:
    return moving_disc(COUNT)


@pytest.fixture
def window(point: Open, labels: list[NDArray[np.uint8]]) -> Pointer:
    """A window with the moving disc, at its first plane."""
    window = point(np.stack([image.pixels for image in images_of(labels)]), rgb=True)
    to_plane(window, 0)
    return window


def to_plane(window: Pointer, number: int) -> None:
    # The samples have a leading axis.
    window.viewer.dims.set_current_step(window.viewer.dims.ndim - 3, number)
    window.settle()


def button(window: Pointer) -> Any:
    return window.section._following.button


def follow(window: Pointer) -> None:
    window.qtbot.mouseClick(button(window), LEFT)
    window.qtbot.waitUntil(lambda: window.section._runner.busy, timeout=PATIENCE)
    window.settle()


def mean_masks(window: Pointer) -> NDArray[Any]:
    return np.asarray(window.viewer.layers["a · mean mask"].data)


def drawn_and_own_box(window: Pointer, number: int) -> tuple[list[int], list[int]]:
    """Return top, left, bottom and right of the bright box on screen, and of an object's box."""
    layers = window.viewer.layers
    visible = {layer.name for layer in layers if layer.visible}
    for layer in layers:
        layer.visible = layer.name == "a · prompt boxes"
    canvas = window.viewer.window.screenshot(canvas_only=True, flash=False)
    for layer in layers:
        layer.visible = layer.name in visible
    rows, columns = np.nonzero(canvas[..., 1] > 128)
    place = window.section._context.place()
    one = window.section._book.find(window.layer, number, place.plane)
    ends = [window.pixel(*one.prompt.box[:2]), window.pixel(*one.prompt.box[2:])]
    expected = [side for end in ends for side in (end.y(), end.x())]
    return [rows.min(), columns.min(), rows.max(), columns.max()], expected


def test_a_box_on_one_plane_is_followed_to_all(
    window: Pointer, labels: list[NDArray[np.uint8]]
) -> None:
    to_plane(window, 1)
    assert button(window).isVisible()
    assert not button(window).isEnabled()
    window.answer_box(labels[1] == 1)
    assert button(window).isEnabled()
    # Cancel leaves everything as it was.
    before = [layer.name for layer in window.viewer.layers]
    window.qtbot.mouseClick(button(window), LEFT)
    window.qtbot.waitUntil(lambda: window.panel.running, timeout=PATIENCE)
    window.qtbot.mouseClick(window.panel.form.cancel_button.native, LEFT)
    window.settle()
    assert window.endings[-1] == "cancelled"
    assert [layer.name for layer in window.viewer.layers] == before
    to_plane(window, 0)
    assert window.states == {}
    to_plane(window, 1)
    assert window.states == {1: "proposed"}
    assert button(window).isEnabled()
    follow(window)
    assert window.endings[-1] == "done", window.panel.last_error
    assert "Object 1 is on 4 planes, 0 to 3" in window.status
    # The arrow keys move the planes, as before, not the samples.
    steps = [window.viewer.dims.current_step[:2]]
    for key in (Key.Key_Right, Key.Key_Left):
        window.key(key)
        window.settle()
        steps.append(window.viewer.dims.current_step[:2])
    assert steps == [(0, 1), (0, 2), (0, 1)]
    for number, plane in enumerate(labels):
        assert dice(mean_masks(window)[number] > 0, plane == 1) > 0.85
        to_plane(window, number)
        reviewed = window.section._session.current
        assert (reviewed.plane.index[0], reviewed.label) == (number, 1)
        assert window.states == {1: "proposed"}
    assert window.viewer.layers["a · samples"].data.shape[1] == COUNT
    # The results of the first plane alone are now in the layers of the stack.
    assert not [layer.name for layer in window.viewer.layers if layer.name.startswith("a [")]
    # Each plane is taken with the object's own label.
    for number in (0, 3):
        to_plane(window, number)
        window.key(Key.Key_M, SHIFT)
        window.settle()
    taken = window.annotation()
    assert [bool(plane.any()) for plane in taken] == [True, False, False, True]
    np.testing.assert_array_equal(taken[0] == 1, mean_masks(window)[0] > 0)
    assert set(np.unique(taken)) == {0, 1}


def test_accepted_and_corrected_planes_are_not_changed(
    window: Pointer, labels: list[NDArray[np.uint8]]
) -> None:
    window.answer_box(labels[0] == 1)
    follow(window)
    to_plane(window, 1)
    window.key(Key.Key_M, SHIFT)
    window.settle()
    to_plane(window, 2)
    # A correction of this plane stays in the layers of the stack.
    window.key(Key.Key_P)
    window.click_on(labels[2] == 1)
    assert set(window.section._session.current.result.samples.prompt) == {"box", "positive"}
    assert window.section._session.stack is not None
    before, annotated = mean_masks(window).copy(), window.annotation().copy()
    follow(window)
    after = mean_masks(window)
    for number in (0, 1, 2):
        np.testing.assert_array_equal(after[number], before[number])
    assert dice(after[3] > 0, labels[3] == 1) > 0.85
    np.testing.assert_array_equal(window.annotation(), annotated)
    assert set(window.section._session.current.result.samples.prompt) == {"box", "positive"}


def test_a_flat_image_has_nothing_to_follow(point: Open, labels: list[NDArray[np.uint8]]) -> None:
    window = point(images_of(labels)[0].pixels, rgb=True)
    window.answer_box(labels[0] == 1)
    assert not button(window).isVisible()


def test_an_object_is_accepted_on_all_planes_in_one_step(
    window: Pointer, labels: list[NDArray[np.uint8]]
) -> None:
    take = window.section._following.take_button
    window.answer_box(labels[0] == 1)
    assert not take.isVisible()
    follow(window)
    # One plane is taken, and painted on, beforehand.
    to_plane(window, 1)
    window.key(Key.Key_M, SHIFT)
    window.settle()
    layer = window.viewer.layers["a · annotation"]
    layer.data_setitem((np.array([1]), np.array([0]), np.array([0])), 1)
    before = window.annotation().copy()
    to_plane(window, 2)
    assert take.isVisible()
    window.qtbot.mouseClick(take, LEFT)
    window.settle()
    assert "Object 1 on 3 planes" in window.status
    taken, found = window.annotation().copy(), mean_masks(window) > 0
    for number in (0, 2, 3):
        np.testing.assert_array_equal(taken[number], found[number])
    np.testing.assert_array_equal(taken[1], before[1])
    proposals = record_of(layer).proposals
    assert {index[0] for index in proposals} == set(range(COUNT))
    assert edited_pixels(layer) == {index: int(index[0] == 1) for index in proposals}
    window.key(Key.Key_Z, CTRL)
    np.testing.assert_array_equal(window.annotation(), before)
    window.key(Key.Key_Z, SHIFT | CTRL)
    np.testing.assert_array_equal(window.annotation(), taken)
    # Accepting takes the object on all planes, too.
    window.key(Key.Key_Z, CTRL)
    window.section.take_pending()
    np.testing.assert_array_equal(window.annotation(), taken)
    window.qtbot.mouseClick(take, LEFT)
    window.settle()
    assert window.status == "Object 1 was already taken on every plane where it was found."
    np.testing.assert_array_equal(window.annotation(), taken)
    autosave_service_of(session_of(window.viewer), window.review).autosaver.flush(wait=True)
    autosave = AutosaveStore(autosave_folder()).newest(signature_of(window.layer))
    assert autosave is not None
    np.testing.assert_array_equal(autosave.labels(), taken)
    # The next mark on a plane begins another object.
    to_plane(window, 3)
    assert window.states == {1: "taken"}


def test_another_object_ends_the_review_of_the_first_on_all_planes(
    window: Pointer, labels: list[NDArray[np.uint8]]
) -> None:
    layers, session = window.viewer.layers, window.section._session

    def under_review() -> tuple[int | None, int | None, bool]:
        """Return plane, object, and whether it is a plane of a stack; check what is visible."""
        assert layers["a · mean mask"].visible == (session.stack is not None)
        if "a [1] · mean mask" in layers:
            assert layers["a [1] · mean mask"].visible == (session.stack is None)
        assert session.current is not None
        return session.current.plane.index[0], session.current.label, session.stack is not None

    window.answer_box(labels[0] == 1)
    follow(window)
    first = mean_masks(window).copy()
    to_plane(window, 1)
    window.key(Key.Key_O, SHIFT)
    assert not layers["a · mean mask"].visible
    window.box(labels[1] == 2)
    window.settle()
    assert under_review() == (1, 2, False)
    # Each plane has the object that is current there.
    to_plane(window, 2)
    assert under_review() == (2, 1, True)
    to_plane(window, 1)
    assert under_review() == (1, 2, False)
    window.section.choose(1)
    window.settle()
    assert under_review() == (1, 1, True)
    np.testing.assert_array_equal(mean_masks(window), first)
    # A correction still belongs to the layers of the stack.
    window.key(Key.Key_P)
    window.click_on(labels[1] == 1)
    assert under_review() == (1, 1, True)
    corrected = mean_masks(window).copy()
    # The layers go to the second object, and back with all planes of the first.
    window.section.choose(2)
    window.settle()
    follow(window)
    assert under_review() == (1, 2, True)
    assert all(dice(found > 0, labels[0] == 2) > 0.8 for found in mean_masks(window))
    window.section.choose(1)
    window.settle()
    assert under_review() == (1, 1, True)
    np.testing.assert_array_equal(mean_masks(window), corrected)
    assert "blank" not in str(window.panel.form.status.value)
    # Each plane has its own boxes, also after some were drawn by hand.
    for number in range(COUNT):
        to_plane(window, number)
        np.testing.assert_allclose(*drawn_and_own_box(window, 1), atol=3)
    to_plane(window, 1)
    # Accepting takes both objects on all planes as one step.
    assert not window.section.take_pending()
    assert all(set(np.unique(plane)) == {0, 1, 2} for plane in window.annotation())
    window.key(Key.Key_Z, CTRL)
    assert not window.annotation().any()
