"""Conversion between images and the network's square canvas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

from latentfm_core.images.canvas import (
    between_canvases,
    canvas_geometry,
    from_canvas,
    mask_to_canvas,
    seen_box,
    to_canvas,
)
from latentfm_core.types import Geometry

SHAPES = [(256, 256), (450, 600), (600, 450), (64, 64), (33, 100), (2, 300), (1000, 3), (64, 65)]


def smooth_rgb(shape: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(0).random((*shape, 3))
    blurred = ndimage.gaussian_filter(noise, (*(max(side / 16, 0.5) for side in shape), 0))
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("size", [64, 256])
def test_canvas_shape_value_range_and_geometry(shape, fit, size):
    canvas, geometry = to_canvas(smooth_rgb(shape), size, fit)
    top, left, height, width = geometry.box
    assert canvas.shape == (size, size, 3)
    assert canvas.dtype == np.float32
    assert canvas.min() >= 0
    assert canvas.max() <= 1
    assert geometry.shape == shape
    assert geometry.canvas == size
    assert min(height, width) >= 1
    assert max(height, width) == size
    if fit == "stretch":
        assert geometry.box == (0, 0, size, size)
    else:
        assert abs(height / size - min(1, shape[0] / shape[1])) <= 1 / size
        assert abs(width / size - min(1, shape[1] / shape[0])) <= 1 / size
        assert abs(top - (size - top - height)) <= 1  # centred
        assert abs(left - (size - left - width)) <= 1


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_an_image_of_canvas_size_is_exact_both_ways(fit):
    rgb = np.random.default_rng(1).random((96, 96, 3), dtype=np.float32)
    canvas, geometry = to_canvas(rgb, 96, fit)
    np.testing.assert_array_equal(canvas, rgb)
    assert not np.shares_memory(canvas, rgb)
    values = np.random.default_rng(2).random((3, 96, 96), dtype=np.float32)
    back = from_canvas(values, geometry)
    np.testing.assert_array_equal(back, values)
    assert not np.shares_memory(back, values)


def test_padding_without_resizing_is_exact_and_repeats_the_edge():
    rgb = np.random.default_rng(3).random((64, 20, 3), dtype=np.float32)
    canvas, geometry = to_canvas(rgb, 64, "pad")
    assert geometry.box == (0, 22, 64, 20)
    np.testing.assert_array_equal(canvas[:, 22:42], rgb)
    np.testing.assert_array_equal(canvas[:, :22], np.repeat(rgb[:, :1], 22, axis=1))
    np.testing.assert_array_equal(canvas[:, 42:], np.repeat(rgb[:, -1:], 22, axis=1))
    np.testing.assert_array_equal(from_canvas(canvas[..., 0], geometry), rgb[..., 0])


@pytest.mark.parametrize("shape", [(48, 48), (40, 64), (20, 20)])
def test_enlarging_agrees_with_scikit_image(shape):
    rgb = np.random.default_rng(4).random((*shape, 3), dtype=np.float32)
    canvas, _ = to_canvas(rgb, 128, "stretch")
    # Bilinear with half-pixel centres and repeated edges.
    expected = resize(rgb, (128, 128), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(canvas, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(300, 300), (450, 600), (257, 512)])
def test_shrinking_agrees_with_scikit_image_on_smooth_images(shape):
    rgb = smooth_rgb(shape)
    canvas, _ = to_canvas(rgb, 64, "stretch")
    expected = resize(rgb, (64, 64), order=1, anti_aliasing=True)
    assert np.abs(canvas - expected)[2:-2, 2:-2].max() < 0.03


def test_shrinking_is_anti_aliased():
    lines = np.zeros((512, 512, 3), np.float32)
    lines[:, ::5] = 1  # plain bilinear sampling would hit or miss a line
    canvas, _ = to_canvas(lines, 64, "stretch")
    np.testing.assert_allclose(canvas[:, 2:-2], 0.2, atol=0.05)


@pytest.mark.parametrize("shape", [(450, 600), (300, 200), (100, 170), (40, 30)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_a_map_returns_to_its_position(shape, fit):
    rows, columns = np.indices(shape)
    blob = np.hypot((rows - shape[0] * 0.3) / shape[0], (columns - shape[1] * 0.6) / shape[1])
    blob = (blob < 0.2).astype(np.float32)
    canvas, geometry = to_canvas(np.repeat(blob[..., None], 3, -1), 256, fit)
    back = from_canvas(canvas[..., 0], geometry)
    assert back.shape == shape
    assert np.mean((back >= 0.5) != (blob >= 0.5)) < 0.01
    np.testing.assert_allclose(
        ndimage.center_of_mass(back), ndimage.center_of_mass(blob), atol=max(shape) / 256
    )


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_leading_axes_are_kept_and_independent(lead):
    values = np.random.default_rng(5).random((*lead, 64, 64), dtype=np.float32)
    geometry = canvas_geometry((50, 90), 64, "pad")
    native = from_canvas(values, geometry)
    assert native.shape == (*lead, 50, 90)
    assert native.dtype == np.float32
    last = tuple(-1 for _ in lead)
    np.testing.assert_allclose(native[last], from_canvas(values[last], geometry), atol=1e-6)


def test_from_canvas_ignores_the_padding():
    geometry = canvas_geometry((32, 64), 64, "pad")
    values = np.full((64, 64), np.nan, np.float32)
    values[16:48] = 0.25
    np.testing.assert_array_equal(from_canvas(values, geometry), np.float32(0.25))


def test_from_canvas_refuses_another_canvas():
    with pytest.raises(ValueError, match="64, 64"):
        from_canvas(np.zeros((32, 32), np.float32), Geometry((5, 5), 64, (0, 0, 64, 64)))


def test_masks_are_aligned_with_their_image():
    rgb = smooth_rgb((150, 220))
    mask = rgb[..., 0] > 0.5
    for fit in ("pad", "stretch"):
        canvas, _ = to_canvas(rgb, 128, fit)
        placed = mask_to_canvas(mask, 128, fit)
        assert placed.dtype == np.bool_
        assert placed.shape == (128, 128)
        assert np.mean(placed != (canvas[..., 0] > 0.5)) < 0.01


@pytest.mark.parametrize("value", [False, True])
def test_plain_masks_are_unchanged(value):
    assert (mask_to_canvas(np.full((70, 31), value), 64, "pad") == value).all()


def test_mask_area_is_kept_when_shrinking():
    mask = np.zeros((512, 512), bool)
    mask[100:300, 50:450] = True
    placed = mask_to_canvas(mask, 64, "stretch")
    assert placed.mean() == pytest.approx(mask.mean(), rel=0.05)


def test_a_map_of_a_window_is_placed_on_another_canvas() -> None:
    window = canvas_geometry((40, 40), 32, "pad")
    source = Geometry((100, 200), 32, window.box, window=(30, 100, 40, 40))
    target = canvas_geometry((100, 200), 128, "pad")
    placed = from_canvas(between_canvases(np.ones((32, 32), np.float32), source, target), target)
    wanted = np.zeros((100, 200), np.float32)
    wanted[30:70, 100:140] = 1
    inside = wanted > 0
    assert placed[32:68, 102:138].min() == 1
    assert np.abs(placed - wanted)[~inside].mean() < 0.005


def test_a_canvas_resampled_onto_itself_is_unchanged_inside_the_image() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    same = canvas_geometry((48, 96), 64, "pad")
    top, left, rows, columns = same.box
    content = np.s_[top : top + rows, left : left + columns]
    np.testing.assert_allclose(between_canvases(values, same, same)[content], values[content])


def test_a_box_on_a_canvas_in_pixels_of_the_image() -> None:
    assert seen_box((0, 0, 32, 64), canvas_geometry((100, 200), 64, "pad")) == (0, 0, 100, 200)
    window = Geometry((100, 200), 32, (0, 0, 32, 32), window=(30, 100, 64, 64))
    assert seen_box((8, 0, 16, 32), window) == (46, 100, 62, 164)
