"""The hypotheses section in a real napari window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.layers import Image, Labels, Shapes
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from skimage.draw import disk

from latentfm_core.types import Geometry, SampleSet, Summary
from napari_latentfm.jobs import Result
from napari_latentfm.planes import displayed_plane
from napari_latentfm.review.annotation import annotation_of
from napari_latentfm.review.hypotheses_section import HypothesesSection
from napari_latentfm.review.overlays import CONTOUR_COLOURS
from napari_latentfm.review.region import region_layer
from napari_latentfm.review.session import Reviewed, ReviewSession, session_of
from napari_latentfm.review.thumbnails import PREVIEW_COLOUR, class_colour
from napari_latentfm.widgets.sampling_panel import SamplingPanel
from tests.plugin_fixtures import PATIENCE, disc_image, run

SHAPE = (60, 80)
LARGE, SMALL = (30, 30, 18), (28, 64, 9)
"""Row, column and radius of the two looks."""


def disc(row: float, column: float, radius: float) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[disk((row, column), radius, shape=SHAPE)] = True
    return mask


def two_looks() -> np.ndarray:
    """Six large discs, three small ones and an empty mask."""
    masks = [disc(*LARGE)] * 6 + [disc(*SMALL)] * 3 + [np.zeros(SHAPE, bool)]
    return np.stack(masks)


def reviewed(
    layer: Image, viewer: Any, masks: np.ndarray, strokes: np.ndarray | None = None
) -> Reviewed:
    """Put masks (bool, or uint8 labels of two classes) into what a run returns."""
    classes = ("cell",) if masks.dtype == bool else ("cell", "nucleus")
    foreground = masks != 0
    mean = foreground.mean(axis=0).astype(np.float32)
    summary = Summary(
        mean_probability=mean,
        mean_mask=mean >= 0.5 if masks.dtype == bool else np.median(masks, 0).astype(np.uint8),
        variance=mean * (1 - mean),
        confidence=1 - 4 * mean * (1 - mean),
        sample_masks=masks,
        class_confidence=None if masks.dtype == bool else np.zeros((2, *SHAPE), np.float32),
    )
    samples = SampleSet(
        np.zeros((len(masks), 8, 8), np.float32),
        Geometry(SHAPE, 8, (0, 0, 8, 8)),
        tuple(range(len(masks))),
        1,
        "test",
        "0" * 64,
        classes=classes,
        strokes=strokes,
    )
    plane = displayed_plane(layer, viewer.dims)
    return Reviewed(layer, plane, "test", Result(samples, summary, "CPU"))


class Desk:
    """A viewer with an image, a docked section, and a mouse."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.session: ReviewSession = session_of(viewer)
        self.section = HypothesesSection(self.session)
        viewer.window.add_dock_widget(self.section, name="hypotheses")

    def review(self, layer: Image, masks: np.ndarray | None = None) -> Reviewed:
        shown = reviewed(layer, self.viewer, two_looks() if masks is None else masks)
        self.session.show(shown)
        self.wait()
        return shown

    def wait(self) -> None:
        found = "hypotheses among", "look alike", "No hypotheses"
        self.qtbot.waitUntil(
            lambda: any(text in self.section.status.text() for text in found), timeout=PATIENCE
        )

    def click(self, place: int) -> None:
        self.qtbot.mouseClick(self.section.strip.buttons[place], Qt.MouseButton.LeftButton)

    def show_contours(self) -> Shapes:
        self.section.contours.setChecked(True)
        self.qtbot.waitUntil(lambda: bool(self.layers(Shapes)), timeout=PATIENCE)
        (layer,) = self.layers(Shapes)
        return layer

    def layers(self, kind: type) -> list[Any]:
        return [x for x in self.viewer.layers if isinstance(x, kind)]

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers]

    @property
    def texts(self) -> list[str]:
        return [button.text().replace("\n", " ") for button in self.section.strip.buttons]

    @property
    def checked(self) -> list[bool]:
        return [button.isChecked() for button in self.section.strip.buttons]


@pytest.fixture
def desk(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Desk:
    return Desk(make_napari_viewer(), qtbot)


@pytest.fixture
def skin(desk: Desk) -> Image:
    return desk.viewer.add_image(disc_image(), rgb=True, name="skin")


# --- pictures -----------------------------------------------------------------------------


def test_says_what_to_do_while_nothing_is_under_review(desk: Desk, skin: Image) -> None:
    assert not desk.section.isEnabled()
    assert "Draw samples" in desk.section.status.text()
    desk.review(skin)
    assert desk.section.isEnabled()
    desk.session.show(None)
    assert not desk.section.isEnabled()
    assert desk.section.strip.buttons == []
    assert "Draw samples" in desk.section.status.text()


def test_pictures_tell_how_many_samples_look_like_this(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert desk.texts == [
        "60 % of samples look like this 6 of 10",
        "30 % of samples look like this 3 of 10",
        "10 % of samples show nothing 1 of 10",
    ]
    assert desk.section.status.text() == "3 hypotheses among 10 samples."


def test_pictures_show_the_outline_on_the_image(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    yellow = QColor(PREVIEW_COLOUR).getRgb()[:3]
    found = desk.section._found
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


def test_order_of_the_pictures(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    order = desk.section.order
    desk.click(0)
    order.setCurrentIndex(order.findData("difference"))
    assert [text.split(" of")[0] for text in desk.texts] == ["30 %", "10 %", "60 %"]
    assert [text.split("this ")[-1] for text in desk.texts][2] == "1 - IoU 0.00"
    # What was chosen stays so, at its new place.
    assert desk.checked == [False, False, True]
    order.setCurrentIndex(order.findData("area"))
    area = int(disc(*LARGE).sum())
    assert desk.texts[0].endswith(f"{area:,} px")
    order.setCurrentIndex(order.findData("agreement"))
    assert desk.texts[0].endswith("Dice 1.00")


def test_samples_that_agree(desk: Desk, skin: Image) -> None:
    desk.review(skin, np.stack([disc(*LARGE)] * 4))
    assert desk.texts == ["100 % of samples look like this 4 of 4"]
    assert desk.section.status.text() == "All 4 samples look alike."


def test_fits_into_the_narrow_panel(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert desk.section.minimumSizeHint().width() <= 310


def test_result_of_a_real_run(
    qtbot: Any,
    docked_panel: Callable[..., tuple[Any, SamplingPanel]],
    blob_image: np.ndarray,
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
    assert "a · preview" not in [x.name for x in viewer.layers]
    desk.wait()
    assert sum(int(t.split(" of ")[-2].split()[-1]) for t in desk.texts) == 4


def test_image_that_cannot_be_read(desk: Desk) -> None:
    layer = desk.viewer.add_image(np.full(SHAPE, np.nan, np.float32), contrast_limits=(0, 1))
    desk.review(layer)
    assert desk.section.status.text().startswith("No hypotheses: ")
    assert desk.section.strip.buttons == []


# --- preview ------------------------------------------------------------------------------


def test_click_previews_on_the_image_and_click_ends_it(desk: Desk, skin: Image) -> None:
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
    # The layer in hand stays in hand.
    assert desk.viewer.layers.selection.active is mine
    desk.click(0)
    assert desk.names == ["skin", "mine", "skin · preview"]
    np.testing.assert_array_equal(preview.data, disc(*LARGE))
    assert desk.checked == [True, False, False]
    desk.click(0)
    assert desk.names == ["skin", "mine"]
    assert not any(desk.checked)
    assert desk.viewer.layers.selection.active is mine


def test_overlays_lie_on_a_turned_image(desk: Desk) -> None:
    affine = np.array([[1, 0.1, 5], [0, 1, -2], [0, 0, 1]])
    space: dict[str, Any] = {"scale": (0.5, 0.25), "rotate": 20.0, "affine": affine}
    layer = desk.viewer.add_image(disc_image(), rgb=True, units=("um", "um"), **space)
    desk.review(layer)
    desk.click(0)
    contours = desk.show_contours()
    for overlay in (*desk.layers(Labels), contours):
        np.testing.assert_allclose(overlay.data_to_world((7, 9)), layer.data_to_world((7, 9)))
        assert overlay.units == layer.units


def test_overlays_lie_on_their_plane_of_a_stack(desk: Desk) -> None:
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
        wanted = QColor(class_colour(label)).getRgbF()
        np.testing.assert_allclose(preview.get_color(label), wanted, atol=0.01)


def test_preview_removed_by_hand(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.viewer.layers.remove("skin · preview")
    assert not any(desk.checked)
    assert desk.section.chosen is None
    desk.click(1)
    assert desk.names == ["skin", "skin · preview"]


def test_another_result_ends_the_preview(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.show_contours()
    desk.session.show(reviewed(skin, desk.viewer, np.stack([disc(*SMALL)] * 2)))
    assert desk.names == ["skin"]
    desk.wait()
    assert len(desk.section.strip.buttons) == 1
    # The contours were asked for and come back, of the new samples.
    contours = desk.show_contours()
    columns = np.concatenate([path[:, 1] for path in contours.data])
    assert columns.min() == pytest.approx(SMALL[1] - SMALL[2], abs=1)


def test_nothing_is_left_when_the_image_is_removed(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.show_contours()
    desk.viewer.layers.remove(skin)
    desk.qtbot.waitUntil(lambda: len(desk.viewer.layers) == 0, timeout=PATIENCE)
    assert not desk.section.isEnabled()


def test_section_that_is_gone_is_not_called(desk: Desk, skin: Image) -> None:
    shown = desk.review(skin)
    desk.click(0)
    desk.section.release()
    assert desk.names == ["skin"]
    desk.viewer.window.remove_dock_widget(desk.section)
    gone: list[bool] = []
    desk.section.destroyed.connect(lambda: gone.append(True))
    desk.section.deleteLater()
    desk.qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)
    desk.session.show(replace(shown))
    desk.viewer.layers.remove(skin)
    desk.qtbot.wait(50)


# --- contours -----------------------------------------------------------------------------


def test_contours_of_agreement(desk: Desk, skin: Image) -> None:
    masks = np.stack([disc(30, 40, radius) for radius in np.linspace(8, 24, 10)])
    desk.review(skin, masks)
    contours = desk.show_contours()
    assert contours.name == "skin · agreement"
    assert not contours.editable
    assert set(contours.shape_type) == {"path"}
    heights = [np.ptp(path[:, 0]) / 2 for path in contours.data]
    assert heights == pytest.approx([24, 16, 8], abs=1.5)
    wanted = [QColor(colour).getRgbF() for colour in CONTOUR_COLOURS]
    np.testing.assert_allclose(contours.edge_color, wanted, atol=0.01)
    assert list(contours.features["share of samples"]) == [0.1, 0.5, 0.9]
    assert sorted(set(contours.edge_width)) == sorted(contours.edge_width)
    desk.section.contours.setChecked(False)
    assert desk.names == ["skin"]


def test_contours_removed_by_hand(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.viewer.layers.remove(desk.show_contours())
    assert not desk.section.contours.isChecked()
    assert desk.show_contours().name == "skin · agreement"


def test_contours_of_empty_samples(desk: Desk, skin: Image) -> None:
    desk.review(skin, np.zeros((3, *SHAPE), bool))
    assert desk.texts == ["100 % of samples show nothing 3 of 3"]
    assert len(desk.show_contours().data) == 0


# --- keys ---------------------------------------------------------------------------------


def test_keys_walk_through_the_hypotheses(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    keys = desk.section.key_actions()
    walk = []
    for key in ("H", "H", "H", "H", "Shift-H", "Shift-H", "Q", "Shift-H"):
        keys[key]()
        walk.append(desk.checked.index(True) if any(desk.checked) else None)
    assert walk == [0, 1, 2, 0, 2, 1, None, 2]
    np.testing.assert_array_equal(desk.viewer.layers["skin · preview"].data, False)


def test_keys_are_not_those_of_napari(desk: Desk) -> None:
    taken = {KeyBinding.from_str(str(k)) for keys in default_shortcuts.values() for k in keys}
    ours = [KeyBinding.from_str(key) for key in desk.section.key_actions()]
    assert not taken.intersection(ours)


def test_keys_do_nothing_while_nothing_is_under_review(desk: Desk) -> None:
    for press in desk.section.key_actions().values():
        press()
    assert desk.names == []


# --- into the annotation ------------------------------------------------------------------


def test_take_whole(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(1)
    desk.section.take_buttons[0].click()
    layer = annotation_of(desk.session)
    np.testing.assert_array_equal(layer.data == 1, disc(*SMALL))
    assert f"{disc(*SMALL).sum()} pixels" in desk.section.status.text()
    layer.undo()
    assert not (layer.data == 1).any()


def test_union_and_intersection(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.section.key_actions()["W"]()
    desk.click(1)
    desk.section.key_actions()["U"]()
    layer = annotation_of(desk.session)
    np.testing.assert_array_equal(layer.data == 1, disc(*LARGE) | disc(*SMALL))
    desk.section.key_actions()["Shift-U"]()
    np.testing.assert_array_equal(layer.data == 1, disc(*SMALL))


def test_take_inside_the_region_only(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.section.key_actions()["Shift-W"]()
    assert "Draw a region" in desk.section.status.text()
    assert annotation_of(desk.session, create=False) is None
    shapes = region_layer(desk.session)
    assert shapes is not None
    shapes.add_polygons(np.array([[-5, -5], [-5, 90], [29.4, 90], [29.4, -5]]))
    desk.section.key_actions()["Shift-W"]()
    layer = annotation_of(desk.session)
    assert layer is not None
    np.testing.assert_array_equal(layer.data[:30] == 1, disc(*LARGE)[:30])
    assert not layer.data[30:].any()


def test_taking_needs_a_choice(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert not any(button.isEnabled() for button in desk.section.take_buttons)
    desk.section.key_actions()["W"]()
    assert "Choose a hypothesis first" in desk.section.status.text()
    desk.click(0)
    assert all(button.isEnabled() for button in desk.section.take_buttons)
