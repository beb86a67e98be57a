"""Result layers lie exactly on their image, with any transform, units or stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from latentfm_core.errors import ImageError
from latentfm_core.progress import finish
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.layers.pixels import read_plane
from napari_latentfm.layers.planes import MAX_PLANE_PIXELS, displayed_plane
from napari_latentfm.layers.specs import METADATA_KEY, confidence_colormap, result_layers
from napari_latentfm.layers.update import place_steps
from tests.helpers.result_layers import by_role, never_asked, random_samples, show, viewer

__all__ = ["viewer"]


TRANSFORMS = {
    "identity": {},
    "scaled": {"scale": (0.5, 2.0), "translate": (10, -3), "units": ("um", "um")},
    "rotated": {"rotate": 30.0, "scale": (2, 3), "translate": (1, 2)},
    "upper shear": {"shear": [0.4], "scale": (1, 2)},
    "lower shear": {"shear": [[1, 0], [0.3, 1]], "rotate": 12.0},
    "affine": {
        "affine": [[0, 1.5, 4], [-1, 0.2, 7], [0, 0, 1]],
        "scale": (0.1, 0.2),
        "rotate": 45.0,
        "units": ("mm", "mm"),
        "axis_labels": ("y", "x"),
    },
}
POINTS = ((0, 0), (5, 3), (11.5, 19))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_every_result_aligns_with_its_source(
    viewer: ViewerModel, transform: dict[str, Any]
) -> None:
    source = viewer.add_image(np.zeros((12, 20, 3), np.uint8), rgb=True, name="a", **transform)
    assert show(viewer, source)
    results = [layer for layer in viewer.layers if layer is not source]
    assert [layer.name for layer in results] == [
        "a · mean probability",
        "a · confidence",
        "a · samples",
        "a · mean mask",
    ]
    for layer in results:
        stacked = layer.ndim == 3
        assert layer.units[-2:] == source.units
        assert layer.axis_labels[-2:] == source.axis_labels
        for y, x in POINTS:
            place_in_world = source.data_to_world((y, x))
            if stacked:
                assert layer.data.shape == (3, 12, 20)
                assert layer.axis_labels[0] == "sample"
                np.testing.assert_allclose(layer.data_to_world((2, y, x)), (2, *place_in_world))
            else:
                assert layer.data.shape == (12, 20)
                np.testing.assert_allclose(layer.data_to_world((y, x)), place_in_world)


def test_layers_contain_the_summary(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((12, 20)), name="a")
    samples = random_samples((12, 20))
    summary = summarise(samples)
    plane = displayed_plane(source, viewer.dims)
    finish(place_steps(viewer, result_layers(source, plane, samples, summary), never_asked))
    np.testing.assert_array_equal(by_role(viewer, "mean_mask").data, summary.mean_mask)
    np.testing.assert_array_equal(by_role(viewer, "samples").data, summary.sample_masks)
    np.testing.assert_array_equal(by_role(viewer, "confidence").data, summary.confidence)
    mean = by_role(viewer, "mean_probability")
    np.testing.assert_array_equal(mean.data, summary.mean_probability)
    assert not mean.visible
    assert tuple(by_role(viewer, "confidence").contrast_limits) == (0, 1)
    assert isinstance(by_role(viewer, "samples"), Labels)


def test_metadata_reproduce_the_layer(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((12, 20)), name="a")
    show(viewer, source, count=4, seed=9)
    for layer in viewer.layers:
        if layer is source:
            assert METADATA_KEY not in layer.metadata
            continue
        found = layer.metadata[METADATA_KEY]
        assert found["source_id"] == str(source.unique_id)
        assert (found["source"], found["model_id"], found["model_sha256"]) == (
            "a",
            "tiny",
            "ab" * 32,
        )
        assert (found["seed"], found["n_samples"], found["settings"]["steps"]) == (9, 4, 4)


def test_mean_mask_and_samples_look_different(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((12, 20)))
    show(viewer, source)
    mean, samples = by_role(viewer, "mean_mask"), by_role(viewer, "samples")
    assert not np.allclose(mean.get_color(1), samples.get_color(1))
    assert mean.contour > 0
    assert samples.contour > 0
    # A label that the annotator paints next to 1 must be visible.
    assert mean.get_color(2)[3] == 1


def test_the_confidence_map_is_transparent_where_samples_agree() -> None:
    sure, unsure = confidence_colormap().map(np.array([1.0, 0.0]))
    assert sure[3] == 0
    assert unsure[3] == 1


# --- which plane --------------------------------------------------------------------------


def test_the_plane_on_screen_of_a_stack_is_segmented(viewer: ViewerModel) -> None:
    stack = np.arange(5 * 12 * 20).reshape(5, 12, 20).astype(np.float32)
    source = viewer.add_image(
        stack, scale=(2, 0.5, 0.5), translate=(7, 1, 1), units=("um", "um", "um"), name="s"
    )
    viewer.dims.set_current_step(0, 3)
    plane = displayed_plane(source, viewer.dims)
    assert plane.index == (3, None, None)
    image = read_plane(source, plane)
    np.testing.assert_array_equal(image.pixels, stack[3])
    assert image.spacing == (0.5, 0.5)
    assert image.unit == "micrometer"


def test_results_of_a_stack_are_placed_in_their_plane(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)), scale=(2, 0.5, 0.5), translate=(7, 1, 1))
    viewer.dims.set_current_step(0, 3)
    show(viewer, source)
    mean, samples = by_role(viewer, "mean_mask"), by_role(viewer, "samples")
    assert mean.data.shape == (1, 12, 20)
    assert samples.data.shape == (3, 1, 12, 20)
    for y, x in POINTS:
        wanted = source.data_to_world((3, y, x))
        np.testing.assert_allclose(mean.data_to_world((0, y, x)), wanted)
        np.testing.assert_allclose(samples.data_to_world((1, 0, y, x)), (1, *wanted))


def test_each_plane_of_a_stack_has_its_own_results(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)), name="s")
    viewer.dims.set_current_step(0, 1)
    show(viewer, source)
    # The samples have put an axis in front.
    viewer.dims.set_current_step(1, 4)
    show(viewer, source)
    show(viewer, source, seed=5)
    masks = [layer.name for layer in viewer.layers if layer.name.endswith("mean mask")]
    assert masks == ["s [1] · mean mask", "s [4] · mean mask"]


def test_plane_follows_the_order_of_the_axes(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.random.default_rng(0).random((8, 12, 20)))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 7)
    plane = displayed_plane(source, viewer.dims)
    assert plane.index == (None, 7, None)
    np.testing.assert_array_equal(read_plane(source, plane).pixels, source.data[:, 7, :])
    show(viewer, source)
    mean = by_role(viewer, "mean_mask")
    assert mean.data.shape == (8, 1, 20)
    np.testing.assert_allclose(mean.data_to_world((2, 0, 3)), source.data_to_world((2, 7, 3)))


def test_plane_respects_units_of_other_layers(viewer: ViewerModel) -> None:
    """The world is in the finer unit of two layers; the slider's position must be converted."""
    source = viewer.add_image(np.zeros((6, 12, 20)), units=("mm",) * 3, name="coarse")
    viewer.add_image(np.zeros((6000, 4, 4), np.uint8), units=("um",) * 3)
    for step in (0, 2, 5):
        # napari before 0.7 has no common unit and counts in that of each layer.
        unit = str((getattr(viewer.dims, "units", None) or source.units)[0])
        viewer.dims.set_point(0, step * {"micrometer": 1000, "millimeter": 1}[unit])
        assert displayed_plane(source, viewer.dims).index[0] == step


def test_a_flat_image_has_one_plane(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((12, 20)))
    viewer.add_image(np.zeros((3, 4, 5)))
    viewer.dims.ndisplay = 3
    assert displayed_plane(source, viewer.dims).index == (None, None)


def test_three_dimensional_display_is_refused(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)))
    viewer.dims.ndisplay = 3
    with pytest.raises(ImageError, match="2D/3D button"):
        displayed_plane(source, viewer.dims)


def test_plane_off_screen_is_refused(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)), name="short")
    viewer.add_image(np.zeros((50, 12, 20)))
    viewer.dims.set_current_step(0, 40)
    with pytest.raises(ImageError, match="outside 'short'"):
        displayed_plane(source, viewer.dims)


def test_plane_across_another_axis_is_refused(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)))
    viewer.add_image(np.zeros((2, 5, 12, 20)))
    viewer.dims.order = (1, 2, 0, 3)
    with pytest.raises(ImageError, match="roll button"):
        displayed_plane(source, viewer.dims)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_tilted_stack_is_refused(viewer: ViewerModel) -> None:
    source = viewer.add_image(np.zeros((5, 12, 20)), rotate=(0, 20, 0))
    with pytest.raises(ImageError, match="rotated or sheared out"):
        displayed_plane(source, viewer.dims)


def test_a_stack_rotated_within_its_planes_is_accepted(viewer: ViewerModel) -> None:
    angle = np.radians(25)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    source = viewer.add_image(np.zeros((5, 12, 20)), rotate=turn, scale=(3, 1, 1))
    viewer.dims.set_current_step(0, 2)
    show(viewer, source)
    np.testing.assert_allclose(
        by_role(viewer, "samples").data_to_world((1, 0, 4, 6)),
        (1, *source.data_to_world((2, 4, 6))),
    )


def test_multiscale_image_is_read_at_its_finest_level(viewer: ViewerModel) -> None:
    fine = np.random.default_rng(0).random((40, 60))
    source = viewer.add_image([fine, fine[::2, ::2]], multiscale=True)
    plane = displayed_plane(source, viewer.dims)
    assert plane.shape == (40, 60)
    np.testing.assert_array_equal(read_plane(source, plane).pixels, fine)


def test_huge_image_is_refused_before_it_is_read() -> None:
    side = int(MAX_PLANE_PIXELS**0.5) + 1
    huge = np.broadcast_to(np.uint8(0), (side, side))
    source = Image([huge, huge[::64, ::64]], multiscale=True, name="slide")
    with pytest.raises(ImageError, match="set Field to current view"):
        displayed_plane(source, ViewerModel().dims)


@pytest.mark.parametrize(
    ("options", "spacing", "unit"),
    [
        ({}, None, "pixel"),
        ({"scale": (2, 2)}, (2.0, 2.0), "pixel"),
        ({"units": ("um", "um")}, (1.0, 1.0), "micrometer"),
        ({"scale": (5, 4), "units": ("um", "nm")}, (5.0, 0.004), "micrometer"),
    ],
)
def test_spacing_comes_from_the_layer(
    viewer: ViewerModel, options: dict[str, Any], spacing: Any, unit: str
) -> None:
    source = viewer.add_image(np.zeros((12, 20, 3), np.uint8), rgb=True, name="a", **options)
    image = read_plane(source, displayed_plane(source, viewer.dims))
    assert isinstance(image, ImageInput)
    assert image.pixels.shape == (12, 20, 3)
    assert image.spacing == (pytest.approx(spacing) if spacing else None)
    assert (image.unit, image.name) == (unit, "a")
