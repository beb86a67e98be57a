"""Navigation between uncertain regions in a real window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

from napari_latentfm.review.regions_section import RegionsSection
from tests.helpers.looks import LARGE, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, disc_image
from tests.helpers.reviewing import SectionDesk


def uncertain_samples() -> np.ndarray:
    """Ten samples: a certain disc, uncertain at its right, and a faint spot at the far right."""
    masks = np.stack([disc(*LARGE)] * 10)
    masks[:5] |= disc(30, 48, 6)
    masks[:2] |= disc(10, 70, 3)
    return masks


class Desk(SectionDesk):
    """A viewer with the section of uncertain regions."""

    kind, name, usual = RegionsSection, "regions", uncertain_samples
    ready = "resolved", "agree everywhere", "No regions"

    def cells(self, row: int) -> list[str]:
        table = self.section.table
        return [table.item(row, column).text() for column in range(table.columnCount())]

    def ticks(self) -> list[bool]:
        table = self.section.table
        states = [table.item(row, 0).checkState() for row in range(table.rowCount())]
        return [state == Qt.CheckState.Checked for state in states]

    @property
    def camera(self) -> Any:
        # Napari 0.9 moved it.
        return getattr(self.viewer, "scene", self.viewer).camera

    def outline(self) -> Labels:
        (layer,) = [x for x in self.viewer.layers if isinstance(x, Labels)]
        return layer


@pytest.fixture
def desk(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Desk:
    return Desk(make_napari_viewer(), qtbot)


@pytest.fixture
def skin(desk: Desk) -> Image:
    return desk.viewer.add_image(disc_image(), rgb=True, name="skin")


def test_the_table_uses_the_units_of_the_layer(desk: Desk) -> None:
    layer = desk.viewer.add_image(
        disc_image(), rgb=True, name="skin", scale=(0.5, 0.2), units=("mm", "mm")
    )
    desk.review(layer)
    bump, spot = disc(30, 48, 6) & ~disc(*LARGE), disc(10, 70, 3)
    assert desk.section.table.rowCount() == 2
    assert desk.cells(0) == [
        "1",
        "outline",
        f"{bump.sum() * 0.1:.3g} mm²",
        f"{bump.sum() * 0.05:.3g} mm²",
        "0.00",
    ]
    assert desk.cells(1)[1:3] == ["apart", f"{spot.sum() * 0.1:.3g} mm²"]
    areas = uncertain_samples().sum(axis=(1, 2)) * 0.1
    low, high = np.quantile(areas, (0.05, 0.95))
    text = desk.section.sizes.text()
    assert f"Samples, area: {areas.mean():,.0f} ({low:,.0f} to {high:,.0f}) mm²" in text
    assert "Samples, diameter: " in text
    assert desk.section.histogram.counts.sum() == 10


def test_sizes_are_in_pixels_if_the_layer_has_no_units(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert desk.cells(1)[2] == f"{disc(10, 70, 3).sum()} px²"


def test_keys_navigate_regions_and_the_camera_follows(desk: Desk) -> None:
    layer = desk.viewer.add_image(
        disc_image(), rgb=True, scale=(0.5, 0.25), translate=(100, -20), name="skin"
    )
    desk.review(layer)
    keys = desk.section.key_actions()
    keys["N"]()
    assert desk.section.here == 1
    np.testing.assert_array_equal(desk.outline().data == 1, disc(30, 48, 6) & ~disc(*LARGE))
    keys["N"]()
    wanted = layer.data_to_world((10, 70))
    np.testing.assert_allclose(desk.camera.center[-2:], wanted, atol=0.3)
    np.testing.assert_array_equal(desk.outline().data == 1, disc(10, 70, 3))
    usual = desk.camera.zoom
    keys["N"]()
    assert desk.section.here == 1
    # The image does not change its size from one region to the next.
    assert desk.camera.zoom == pytest.approx(usual)
    # A closer zoom is kept while the whole region is visible.
    desk.camera.zoom = 1.3 * usual
    keys["Shift-N"]()
    assert desk.section.here == 2
    assert desk.camera.zoom == pytest.approx(1.3 * usual)
    desk.camera.zoom = 100 * usual
    keys["N"]()
    assert desk.camera.zoom == pytest.approx(usual)
    desk.viewer.reset_view()
    keys["N"]()
    assert desk.camera.zoom == pytest.approx(usual)
    assert "number 2 on screen" in desk.section.status.text()


def test_sliders_move_to_the_plane(desk: Desk) -> None:
    stack = np.stack([disc_image()[..., 0]] * 5)
    layer = desk.viewer.add_image(stack, scale=(3, 1, 1), name="stack")
    desk.viewer.dims.set_current_step(0, 3)
    desk.review(layer)
    desk.viewer.dims.set_current_step(0, 0)
    desk.section.next_button.click()
    assert desk.viewer.dims.current_step[0] == 3
    assert desk.outline().data_to_world((0, 0, 0))[0] == 9


@pytest.mark.styled
def test_clicking_a_row_moves_the_view_to_its_region(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    table = desk.section.table
    where = table.visualItemRect(table.item(1, 2)).center()
    desk.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert desk.section.here == 2
    np.testing.assert_allclose(desk.camera.center[-2:], (10, 70), atol=1)


def test_resolving_goes_to_the_next_open_region_and_survives_new_samples(
    desk: Desk, skin: Image
) -> None:
    shown = desk.review(skin)
    desk.section.next()
    desk.section.resolve_button.click()
    assert desk.ticks() == [True, False]
    assert desk.section.here == 2
    assert desk.section.status.text().startswith("1 of 2 resolved")
    desk.section.resolve_button.click()
    assert desk.ticks() == [True, True]
    assert desk.section.here == 2
    found = desk.section.resolved_regions()
    assert [region["area"] for region in found] == [r.area for r in desk.section.regions]
    # A second press reverts it.
    desk.section.resolve_button.click()
    assert desk.ticks() == [True, False]
    desk.section.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert desk.section.resolved == set()
    desk.section.visit(2)
    desk.section.resolve()
    # After a correction the first region has disappeared and the second is slightly larger.
    masks = np.stack([disc(*LARGE)] * 10)
    masks[:2] |= disc(10, 70, 4)
    other = reviewed(skin, desk.viewer, masks)
    desk.session.show(replace(other, plane=shown.plane))
    desk.wait()
    assert desk.ticks() == [True]
    # A region elsewhere was never reviewed.
    masks = np.stack([disc(*LARGE)] * 10)
    masks[:2] |= disc(50, 70, 4)
    desk.session.show(reviewed(skin, desk.viewer, masks))
    desk.wait()
    assert desk.ticks() == [False]


def test_reviewed_regions_do_not_apply_to_another_image(desk: Desk, skin: Image) -> None:
    shown = desk.review(skin)
    desk.section.visit(2)
    desk.section.resolve()
    other = desk.viewer.add_image(disc_image()[:, :70], rgb=True, name="other")
    # The same again, and another image before it is measured.
    desk.session.show(replace(shown))
    desk.session.show(reviewed(other, desk.viewer, uncertain_samples()[:, :, :70]))
    desk.wait()
    assert not any(desk.ticks())
    # Back at the first one, its reviewed regions are still reviewed.
    desk.session.show(None)
    desk.session.show(replace(shown))
    desk.wait()
    assert desk.ticks() == [False, True]


def test_samples_that_agree_have_no_uncertain_region(desk: Desk, skin: Image) -> None:
    desk.review(skin, np.stack([disc(*LARGE)] * 3))
    assert "agree everywhere" in desk.section.status.text()
    for press in desk.section.key_actions().values():
        press()
    assert [x.name for x in desk.viewer.layers] == ["skin"]


@pytest.mark.styled
def test_fits_into_the_narrow_panel(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    assert desk.section.minimumSizeHint().width() <= 310


def test_removing_the_image_removes_temporary_layers(desk: Desk, skin: Image) -> None:
    desk.review(skin)
    desk.section.next()
    desk.viewer.layers.remove(skin)
    desk.qtbot.waitUntil(lambda: len(desk.viewer.layers) == 0, timeout=PATIENCE)
    assert not desk.section.isEnabled()
    assert desk.section.table.rowCount() == 0
    assert desk.section.sizes.text() == ""


def test_a_deleted_section_receives_no_calls(desk: Desk, skin: Image) -> None:
    shown = desk.review(skin)
    desk.session.show(replace(shown))
    desk.section.release()
    desk.remove_section()
    desk.session.show(replace(shown))
    desk.viewer.layers.remove(skin)
    desk.qtbot.wait(50)
