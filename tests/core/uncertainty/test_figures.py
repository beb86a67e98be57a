"""Figures of the mean mask on screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from latentfm_core.types import Summary
from latentfm_core.uncertainty.figures import mask_figures
from latentfm_core.uncertainty.grid import grid_step, on_grid, summary_on_grid
from latentfm_core.uncertainty.regions import enlarged, uncertain_regions
from latentfm_core.worklist.order import uncertainty_of
from napari_latentfm.sampling.status import describe
from tests.helpers.looks import SHAPE, disc, reviewed, two_looks

SPACING = (0.5, 0.25)


def summary_of(mask: np.ndarray, expected: float | None = 0.9) -> Summary:
    zeros = np.zeros(mask.shape, np.float32)
    return Summary(zeros, mask, zeros, 1 - zeros, mask[None], expected_dice=expected)


def output(mask: np.ndarray, scale: Any = (1, 1), units: Any = "pixel") -> str:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros(SHAPE), name="skin", scale=scale, units=units)
    shown = reviewed(layer, viewer, two_looks())
    summary = replace(shown.result.summary, mean_mask=mask, expected_dice=0.9)
    return describe(layer, shown.plane, replace(shown.result, summary=summary))


@pytest.mark.parametrize(
    ("value", "says"), [(False, "No cell"), (True, "covers 100.0% of the image")]
)
def test_empty_and_full_masks_have_no_expected_dice(value: bool, says: str) -> None:
    mask = np.full(SHAPE, value)
    assert mask_figures(summary_of(mask, 1.0)).expected_dice is None
    text = output(mask)
    assert says in text
    assert "Expected Dice" not in text
    assert uncertainty_of(summary_of(mask, 1.0)) == 1, "somebody has to look"


def test_the_diameter_is_that_of_the_largest_piece() -> None:
    main = disc(30, 30, 10)
    islets = main.copy()
    islets[2, 78] = islets[58, 1] = True
    alone, both = mask_figures(summary_of(main), SPACING), mask_figures(summary_of(islets), SPACING)
    assert both.diameter == alone.diameter > 0
    assert both.area == pytest.approx(alone.area + 2 * 0.125)


def test_areas_have_square_units_and_the_status_begins_with_the_image() -> None:
    mask = disc(30, 30, 10)
    pixels = np.count_nonzero(mask)
    text = output(mask)
    assert text.startswith("skin: Mean mask: cell on ")
    assert f"{pixels} px²" in text
    assert "Expected Dice: 0.90." in text
    scaled = output(mask, (0.1, 0.1), "mm")
    assert f"{pixels * 0.01:.3g} mm²" in scaled
    assert " mm." in scaled


def test_figures_of_large_and_small_masks_agree() -> None:
    small = disc(30, 30, 18)
    large = small.repeat(40, 0).repeat(40, 1)
    assert grid_step((large.shape[0], large.shape[1])) > 1
    one, other = mask_figures(summary_of(small), (40, 40)), mask_figures(summary_of(large))
    assert other.area == one.area
    assert other.share == one.share
    assert other.diameter == pytest.approx(one.diameter, rel=0.01)


def test_regions_found_on_the_grid_have_the_right_position() -> None:
    confidence = np.ones((1500, 2000), np.float32)
    confidence[300:420, 900:1100] = 0
    base = summary_of(np.zeros(confidence.shape, bool))
    summary = replace(base, confidence=confidence)
    shape = (1500, 2000)
    step = grid_step(shape)
    assert step == 2
    ((region,), _) = uncertain_regions(summary_on_grid(summary, step))
    found = enlarged(region, step, shape)
    np.testing.assert_allclose(found.box, (300, 900, 420, 1100), atol=step)
    assert found.area == pytest.approx(120 * 200, rel=0.03)
    assert confidence[found.centre] == 0


@pytest.mark.parametrize("shape", [(3, 5), (1000, 1001), (4001, 2999)])
def test_the_grid_covers_the_plane(shape: tuple[int, int]) -> None:
    step = grid_step(shape)
    points = on_grid(np.arange(shape[0])[:, None] + np.zeros(shape), step)
    assert points[0, 0] < step
    assert points[-1, 0] >= shape[0] - step - 1
    assert points.size <= 1.01 * 2**20
