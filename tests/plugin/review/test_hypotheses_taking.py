"""The hypotheses section: contours, keys, and taking a hypothesis."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtGui import QColor

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.region import region_layer
from napari_latentfm.review.look_controls import legend
from napari_latentfm.review.overlays import CONTOUR_COLOURS
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc
from tests.helpers.result_layers import by_role, show
from tests.helpers.reviewing import Desk, desk, skin

__all__ = ["desk", "skin"]


# --- contours -----------------------------------------------------------------------------


def test_contours_show_the_agreement_of_samples(desk: Desk, skin: Image) -> None:
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
    # Each can be switched.
    desk.section.contours.levels[0.5].click()
    layer = desk.viewer.layers["skin · agreement"]
    assert list(layer.features["share of samples"]) == [0.1, 0.9]
    wanted = [QColor(CONTOUR_COLOURS[place]).getRgbF() for place in (0, 2)]
    np.testing.assert_allclose(layer.edge_color, wanted, atol=0.01)
    # Removing their layer unchecks the box.
    desk.viewer.layers.remove(layer)
    assert not desk.section.contours.shown.isChecked()
    assert desk.show_contours().name == "skin · agreement"
    desk.section.contours.shown.setChecked(False)
    assert desk.names == ["skin"]


def test_contours_of_empty_samples(desk: Desk, skin: Image) -> None:
    desk.review(skin, np.zeros((3, *SHAPE), bool))
    assert desk.texts == ["100% of samples show nothing 3 of 3"]
    assert len(desk.show_contours().data) == 0


# --- keys ---------------------------------------------------------------------------------


def test_keys_navigate_the_hypotheses(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    keys = desk.section.key_actions()
    walk = []
    for key in ("H", "H", "H", "H", "Shift-H", "Shift-H", "Q", "Shift-H"):
        keys[key]()
        walk.append(desk.checked.index(True) if any(desk.checked) else None)
    assert walk == [0, 1, 2, 0, 2, 1, None, 2]
    np.testing.assert_array_equal(desk.viewer.layers["skin · preview"].data, False)


def test_keys_do_nothing_while_nothing_is_under_review(desk: Desk) -> None:
    for press in desk.section.key_actions().values():
        press()
    assert desk.names == []


# --- into the annotation ------------------------------------------------------------------


def test_a_chosen_hypothesis_becomes_the_annotation(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert not any(button.isEnabled() for button in desk.section.buttons.take)
    desk.section.key_actions()["W"]()
    assert "Choose a hypothesis first" in desk.section.status.text()
    desk.click(1)
    assert all(button.isEnabled() for button in desk.section.buttons.take)
    desk.section.buttons.take[0].click()
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


def test_a_hypothesis_is_accepted_only_inside_the_region(desk: Desk, skin: Image) -> None:
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


# --- what is on screen --------------------------------------------------------------------


def test_the_plain_image_can_be_switched_on_and_off(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.section.buttons.take[2].click()
    preview, annotation = (desk.viewer.layers[f"skin · {x}"] for x in ("preview", "annotation"))
    annotation.visible = False
    desk.section.view.plain_button.click()
    assert [x.name for x in desk.viewer.layers if x.visible] == ["skin"]
    desk.section.key_actions()["0"]()
    assert preview.visible
    # What the user had hidden stays hidden.
    assert not annotation.visible
    assert not desk.section.view.plain_button.isChecked()


def test_opacity_of_all_overlays(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.click(0)
    desk.section.buttons.take[2].click()
    annotation = desk.viewer.layers["skin · annotation"]
    own = annotation.opacity
    desk.section.view.opacity.setValue(40)
    assert annotation.opacity == pytest.approx(0.4 * own)
    assert skin.opacity == 1
    assert desk.show_contours().opacity == pytest.approx(0.4 * 0.9)
    desk.section.view.opacity.setValue(100)
    assert annotation.opacity == pytest.approx(own)


def test_proposals_are_hidden_when_one_is_accepted(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    show(desk.viewer, skin)
    contours = desk.show_contours()
    maps = [by_role(desk.viewer, role) for role in ("confidence", "mean_probability")]
    assert [layer.visible for layer in maps] == [True, False]
    desk.click(0)
    desk.section.key_actions()["W"]()
    assert [x.name for x in desk.viewer.layers if x.visible] == ["skin", "skin · annotation"]
    assert "skin · preview" not in desk.names
    assert not contours.visible
    assert desk.viewer.layers["skin · annotation"].visible
    assert not desk.section.view.proposals_button.isChecked()
    desk.section.key_actions()["Shift-Q"]()
    assert contours.visible
    assert [layer.visible for layer in maps] == [True, False]
    assert desk.section.view.proposals_button.isChecked()


def test_legend_names_every_colour(desk: Desk, skin: Image) -> None:
    assert desk.section.view.legend.text() == ""
    desk.review(skin)
    found = legend(("cell",), several=False)
    colours = [colour for colour, _ in found]
    assert len(set(colours)) == len(colours)
    text = desk.section.view.legend.text()
    assert all(colour in text for colour in colours)
    assert "certain&nbsp;cell" in text
    assert "low&nbsp;confidence" in text
