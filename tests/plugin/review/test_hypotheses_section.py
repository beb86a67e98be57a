"""The hypotheses section in a real window: thumbnails and preview."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication

from latentfm_core.colours import outline_colour
from napari_latentfm.review.thumbnails import PREVIEW_COLOUR
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel, disc_image, run
from tests.helpers.reviewing import Desk, desk, skin

__all__ = ["desk", "skin"]


# --- pictures -----------------------------------------------------------------------------


def test_thumbnails_show_how_many_samples_are_similar(desk: Desk, skin: Image) -> None:
    assert not desk.section.isEnabled()
    assert "Run the model" in desk.section.status.text()
    desk.review(skin)
    assert desk.section.isEnabled()
    assert desk.texts == [
        "60% of samples look like this 6 of 10",
        "30% of samples look like this 3 of 10",
        "10% of samples show nothing 1 of 10",
    ]
    assert desk.section.status.text() == "3 hypotheses among 10 samples."
    # They show the outline on the image.
    yellow = QColor(PREVIEW_COLOUR).getRgb()[:3]
    found = desk.section._result
    assert found is not None
    ring, small, empty = ((p == yellow).all(axis=-1) for p in found.pictures)
    assert ring.sum() > small.sum() > 50
    assert not empty.any()
    # Both outlines lie where their discs do: the large one at the left.
    assert np.flatnonzero(ring.any(axis=0)).mean() < np.flatnonzero(small.any(axis=0)).mean()
    # The image itself is in the picture, not just an outline.
    dark, bright = found.pictures[2].min(), found.pictures[2].max()
    assert (dark, bright) != (0, 0)
    assert bright - int(dark) > 60
    desk.session.show(None)
    assert not desk.section.isEnabled()
    assert desk.section.strip.buttons == []
    assert "Run the model" in desk.section.status.text()
    # Samples that agree have no uncertain region.
    desk.review(skin, np.stack([disc(*LARGE)] * 4))
    assert desk.texts == ["100% of samples look like this 4 of 4"]
    assert desk.section.status.text() == "All 4 samples look alike."


def test_thumbnails_can_be_ordered(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    order = desk.section.order
    desk.click(0)
    order.setCurrentIndex(order.findData("difference"))
    assert [text.split(" of")[0] for text in desk.texts] == ["30%", "10%", "60%"]
    assert [text.split("this ")[-1] for text in desk.texts][2] == "1 - IoU 0.00"
    # The choice is kept, at its new position.
    assert desk.checked == [False, False, True]
    order.setCurrentIndex(order.findData("area"))
    area = int(disc(*LARGE).sum())
    assert desk.texts[0].endswith(f"{area:,} px²")
    order.setCurrentIndex(order.findData("agreement"))
    assert desk.texts[0].endswith("Dice 1.00")


@pytest.mark.styled
def test_buttons_stay_in_place_when_pictures_change(desk: Desk, skin: Image) -> None:
    section = desk.section

    def room() -> tuple[int, int]:
        top = section.buttons.y()
        return top, top - section.strip.geometry().bottom()

    QApplication.processEvents()
    before = room()
    assert before[1] > 0
    desk.review(skin)
    assert section.strip.buttons
    assert room() == before, "right after they came"
    QApplication.processEvents()
    assert section.strip.widget().height() <= section.strip.viewport().height()
    assert all(button.height() >= button.sizeHint().height() for button in section.strip.buttons)
    desk.session.show(None)
    QApplication.processEvents()
    assert room() == before


def test_the_section_shows_the_hypotheses_of_a_real_run(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    desk = Desk(viewer, qtbot)
    viewer.add_image(blob_image, rgb=True, name="a")
    assert run(qtbot, panel) == "done"
    desk.wait()
    assert sum(int(t.split(" of ")[-2].split()[-1]) for t in desk.texts) == 3
    desk.click(0)
    preview = viewer.layers["a · preview"]
    medoid = desk.section.hypotheses[0].medoid
    np.testing.assert_array_equal(preview.data, viewer.layers["a · samples"].data[medoid])
    # Another run replaces what is under review.
    panel.form.n_samples.value = 4
    assert run(qtbot, panel) == "done"
    assert not viewer.layers["a · preview"].visible
    desk.wait()
    assert sum(int(t.split(" of ")[-2].split()[-1]) for t in desk.texts) == 4


def test_an_unreadable_image_is_reported(desk: Desk) -> None:
    layer = desk.viewer.add_image(np.full(SHAPE, np.nan, np.float32), contrast_limits=(0, 1))
    desk.review(layer)
    assert desk.section.status.text().startswith("No hypotheses: ")
    assert desk.section.strip.buttons == []


# --- preview ------------------------------------------------------------------------------


def test_a_click_starts_the_preview_and_a_second_one_ends_it(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    mine = desk.viewer.add_labels(np.zeros(SHAPE, int), name="mine")
    desk.viewer.layers.selection.active = mine
    desk.click(1)
    (preview,) = [x for x in desk.layers(Labels) if x is not mine]
    assert preview.name == "skin · preview"
    np.testing.assert_array_equal(preview.data, disc(*SMALL))
    assert preview.contour > 0
    assert not preview.editable
    assert desk.checked == [False, True, False]
    # The active layer stays active.
    assert desk.viewer.layers.selection.active is mine
    desk.click(0)
    assert desk.names == ["skin", "skin · preview", "mine"]
    np.testing.assert_array_equal(preview.data, disc(*LARGE))
    assert desk.checked == [True, False, False]
    desk.click(0)
    assert desk.names == ["skin", "mine"]
    assert not any(desk.checked)
    assert desk.viewer.layers.selection.active is mine


def test_a_preview_reuses_its_layer_and_moves_to_the_top(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(1)
    preview = desk.viewer.layers["skin · preview"]
    desk.click(1)
    assert not preview.visible
    desk.section.take_whole()
    desk.click(0)
    desk.section.take_whole()
    desk.click(0)
    desk.click(1)
    assert desk.viewer.layers[-1] is preview, "no layer is created again, and none hides it"
    np.testing.assert_array_equal(preview.data, disc(*SMALL))
    # It moves to another image, too.
    moved = desk.viewer.add_image(disc_image(), rgb=True, name="moved", translate=(5, 7))
    desk.review(moved)
    desk.click(0)
    (preview,) = [x for x in desk.layers(Labels) if "preview" in x.name]
    assert preview.name == "moved · preview"
    np.testing.assert_allclose(preview.translate, (5, 7))


def test_overlays_align_with_a_rotated_image(desk: Desk) -> None:
    affine = np.array([[1, 0.1, 5], [0, 1, -2], [0, 0, 1]])
    space: dict[str, Any] = {"scale": (0.5, 0.25), "rotate": 20.0, "affine": affine}
    layer = desk.viewer.add_image(disc_image(), rgb=True, units=("um", "um"), **space)
    desk.review(layer)
    desk.click(0)
    contours = desk.show_contours()
    for overlay in (*desk.layers(Labels), contours):
        np.testing.assert_allclose(overlay.data_to_world((7, 9)), layer.data_to_world((7, 9)))
        assert overlay.units == layer.units


def test_overlays_are_on_their_plane_of_a_stack(desk: Desk) -> None:
    stack = np.stack([disc_image()[..., 0]] * 5, axis=1)
    layer = desk.viewer.add_image(stack, scale=(1, 3, 1), name="stack")
    desk.viewer.dims.order = (1, 0, 2)
    desk.viewer.dims.set_current_step(1, 3)
    desk.review(layer)
    desk.click(0)
    contours = desk.show_contours()
    (preview,) = desk.layers(Labels)
    assert preview.name == "stack [3] · preview"
    np.testing.assert_array_equal(preview.data[:, 0], disc(*LARGE))
    wanted = layer.data_to_world((7, 3, 9))
    np.testing.assert_allclose(preview.data_to_world((7, 0, 9)), wanted)
    np.testing.assert_allclose(contours.data_to_world((7, 0, 9)), wanted)
    assert all((path[:, 1] == 0).all() for path in contours.data)
    rows = np.concatenate([path[:, 0] for path in contours.data])
    assert rows.max() == pytest.approx(LARGE[0] + LARGE[2], abs=1)
    # On screen with their plane, and with no other.
    assert contours._data_view._displayed.sum() == len(contours.data)
    desk.viewer.dims.set_current_step(1, 1)
    assert contours._data_view._displayed.sum() == 0


def test_preview_of_classes_has_their_colours(desk: Desk, skin: Image) -> None:
    nucleus = np.where(disc(*LARGE), 1, 0) + disc(30, 30, 8)
    masks = np.stack([nucleus, nucleus, np.where(disc(*SMALL), 1, 0)]).astype(np.uint8)
    desk.review(skin, masks)
    desk.click(0)
    (preview,) = desk.layers(Labels)
    np.testing.assert_array_equal(preview.data, nucleus)
    for label in (1, 2):
        wanted = QColor(outline_colour(label)).getRgbF()
        np.testing.assert_allclose(preview.get_color(label), wanted, atol=0.01)


def test_removing_the_layer_or_showing_another_result_ends_the_preview(
    desk: Desk, skin: Image
) -> None:
    desk.review(skin)
    desk.click(0)
    desk.viewer.layers.remove("skin · preview")
    assert not any(desk.checked)
    assert desk.section.chosen is None
    desk.click(1)
    assert desk.names == ["skin", "skin · preview"]
    # So does another result.
    desk.click(0)
    desk.show_contours()
    desk.session.show(reviewed(skin, desk.viewer, np.stack([disc(*SMALL)] * 2)))
    assert desk.names == ["skin"]
    desk.wait()
    assert len(desk.section.strip.buttons) == 1
    # The contours were requested and are shown again, for the new samples.
    contours = desk.show_contours()
    columns = np.concatenate([path[:, 1] for path in contours.data])
    assert columns.min() == pytest.approx(SMALL[1] - SMALL[2], abs=1)


def test_removing_the_image_removes_temporary_layers(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.show_contours()
    desk.viewer.layers.remove(skin)
    desk.qtbot.waitUntil(lambda: len(desk.viewer.layers) == 0, timeout=PATIENCE)
    assert not desk.section.isEnabled()


def test_a_deleted_section_receives_no_calls(desk: Desk, skin: Image) -> None:
    shown = desk.review(skin)
    desk.click(0)
    desk.section.release()
    assert desk.names == ["skin"]
    desk.remove_section()
    desk.session.show(replace(shown))
    desk.viewer.layers.remove(skin)
    desk.qtbot.wait(50)
