"""Results of large images are drawn from coarser levels, with thin outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image

from napari_latentfm.annotation.writer import write_labels
from napari_latentfm.layers.edits import is_edited
from napari_latentfm.layers.pyramid import COARSEST, pyramid
from napari_latentfm.layers.specs import CONTOURS
from tests.helpers.result_layers import by_role, show

SHAPE = (1100, 1300)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def large(viewer: ViewerModel) -> Image:
    layer: Image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="large")
    show(viewer, layer, count=2)
    return layer


def test_levels_of_a_large_result_are_views_of_it(viewer: ViewerModel, large: Image) -> None:
    for role in ("samples", "mean_mask", "confidence", "mean_probability"):
        layer = by_role(viewer, role)
        assert layer.multiscale
        assert layer.data[0].shape[-2:] == SHAPE
        assert max(layer.data[-1].shape[-2:]) <= COARSEST
        assert all(np.shares_memory(level, layer.data[0]) for level in layer.data), "no copy"


@pytest.mark.parametrize("side", [64, 1100])
@pytest.mark.parametrize("role", ["samples", "mean_mask"])
def test_outlines_are_at_most_three_pixels_wide(viewer: ViewerModel, role: Any, side: int) -> None:
    layer = viewer.add_image(np.zeros((side, 1300), np.uint8), name="image")
    show(viewer, layer, count=2)
    assert 1 <= by_role(viewer, role).contour + 1 <= 3
    assert by_role(viewer, role).contour == CONTOURS[role]


def test_a_rerun_updates_large_layers_without_asking(viewer: ViewerModel, large: Image) -> None:
    before = by_role(viewer, "mean_mask").data[0].copy()
    ids = [layer.unique_id for layer in viewer.layers]
    show(viewer, large, count=2, seed=7)
    assert [layer.unique_id for layer in viewer.layers] == ids
    assert (by_role(viewer, "mean_mask").data[0] != before).any()
    assert not is_edited(by_role(viewer, "mean_mask"))


def test_a_large_result_is_saved_at_full_size(
    viewer: ViewerModel, large: Image, tmp_path: Path
) -> None:
    layer = by_role(viewer, "mean_mask")
    data, meta, _ = layer.as_layer_data_tuple()
    write_labels(str(tmp_path / "mask.tif"), data, meta)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mask.tif"), layer.data[0])


@pytest.mark.parametrize("length", [513, 1024, 1025, 1300, 4001])
def test_coarser_pixels_are_centred_in_their_cells(length: int) -> None:
    ramp = np.arange(length, dtype=float)[:, None] * np.ones((1, 600))
    for number, level in enumerate(pyramid(ramp, (0, 1))):
        factor = length / len(level)
        # napari lays pixel i of a level at factor (i + 1 / 2) - 1 / 2.
        expected = factor * (np.arange(len(level)) + 0.5) - 0.5
        assert np.abs(level[:, 0] - expected).max() <= 2**number
