"""Conversion of pixels of any type to RGB."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import IntensityRange
from latentfm_core.images.large import PixelField, large_image
from latentfm_core.images.open_large import open_large
from latentfm_core.images.read import read_image, read_mask, to_rgb
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.types import ImageInput

ALL_DTYPES = [
    "bool", "uint8", "int8", "uint16", ">u2", "int16", "uint32", "int32", "uint64", ">i8",
    "float16", "float32", ">f4", "float64", "longdouble",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize(
    "shape", [(9, 14), (9, 14, 1), (9, 14, 2), (9, 14, 3), (9, 14, 4), (2, 90)]
)
def test_every_dtype_and_channel_count_gives_rgb(dtype, shape):
    values = np.random.default_rng(5).integers(0, 2 if dtype == "bool" else 120, shape)
    rgb = to_rgb(ImageInput(values.astype(dtype)))
    assert rgb.shape == (*shape[:2], 3)
    assert rgb.dtype == np.float32
    assert rgb.dtype.isnative
    assert rgb.flags.c_contiguous
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert np.isfinite(rgb).all()
    assert rgb.max() > rgb.min()
    if len(shape) == 2 or shape[2] < 3:
        np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])


def test_uint8_and_bool_are_scaled_by_their_range():
    dim = np.arange(100, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_allclose(to_rgb(ImageInput(dim))[..., 1], dim / 255, rtol=1e-6)
    checks = np.indices((4, 4)).sum(0) % 2 == 0
    np.testing.assert_array_equal(to_rgb(ImageInput(checks))[..., 0], checks)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_within_0_and_1_are_unchanged(dtype):
    values = np.linspace(0.25, 0.5, 100).reshape(10, 10).astype(dtype)
    np.testing.assert_allclose(to_rgb(ImageInput(values))[..., 0], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("offset", "step", "dtype"),
    [
        (0, 1, "uint16"),
        (1000, 2, "uint16"),
        (-30000, 3, "int16"),
        (2**63, 1, "uint64"),  # a double cannot tell these values apart
        (-(2**62), 1, "int64"),
        (-1e6, 0.5, "float32"),
        (1e12, 1e-2, "float64"),
        (-8e307, 8e303, "float64"),
    ],
)
def test_other_ranges_are_scaled_by_percentiles_without_loss(offset, step, dtype):
    index = np.random.default_rng(6).permutation(20000).reshape(100, 200)
    values = (np.array(offset, dtype) + index.astype(dtype) * np.array(step, dtype)).astype(dtype)
    expected = np.clip((index - 19.999) / (19979.001 - 19.999), 0, 1)
    np.testing.assert_allclose(to_rgb(ImageInput(values))[..., 0], expected, atol=1e-3)


def test_signed_integers_over_their_whole_range():
    info = np.iinfo(np.int64)
    values = np.array([[info.min, 0], [0, info.max]])
    rgb = to_rgb(ImageInput(values))[..., 0]
    assert rgb[0, 0] == 0
    assert rgb[1, 1] == 1
    assert rgb[0, 1] == pytest.approx(0.5, abs=1e-6)


def test_float16_beyond_its_own_difference_range():
    values = np.linspace(-60000, 60000, 400).reshape(20, 20).astype(np.float16)
    assert np.diff(to_rgb(ImageInput(values))[..., 0].ravel()).min() >= 0


def test_outliers_do_not_darken_a_16_bit_image():
    values = np.random.default_rng(7).integers(1000, 2000, (200, 200)).astype(np.uint16)
    values[0, 0] = 65535
    assert 0.4 < to_rgb(ImageInput(values)).mean() < 0.6


def test_few_bright_pixels_on_a_flat_background_are_kept():
    values = np.zeros((100, 100), np.uint16)
    values[50, 50] = 500
    rgb = to_rgb(ImageInput(values))
    assert rgb[50, 50].tolist() == [1, 1, 1]
    assert rgb.sum() == 3


def test_channels_share_a_scale():
    values = np.random.default_rng(8).integers(0, 1000, (50, 50, 3)).astype(np.uint16)
    values[..., 2] //= 10
    rgb = to_rgb(ImageInput(values))
    assert rgb[..., 2].max() < 0.12


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_has_no_effect(channels):
    values = np.random.default_rng(9).integers(0, 9999, (20, 20, channels)).astype(np.uint16)
    other = values.copy()
    other[..., -1] = 65535 - other[..., -1]
    np.testing.assert_array_equal(to_rgb(ImageInput(values)), to_rgb(ImageInput(other)))


def test_views_are_read_and_not_changed():
    base = np.random.default_rng(10).integers(0, 9999, (40, 60, 3)).astype(np.int32)
    view = base[::-2, ::3]
    before = base.copy()
    rgb = to_rgb(ImageInput(view))
    np.testing.assert_array_equal(rgb, to_rgb(ImageInput(view.copy())))
    np.testing.assert_array_equal(base, before)


def test_percentiles_of_large_images_are_close_to_exact():
    values = np.random.default_rng(11).normal(500, 100, (2300, 2300)).astype(np.float32)
    low, high = np.percentile(values, (0.1, 99.9))
    expected = np.clip((values - low) / (high - low), 0, 1)
    assert np.abs(to_rgb(ImageInput(values))[..., 0] - expected).max() < 0.01


@pytest.mark.parametrize("dtype", [*ALL_DTYPES, "unit"])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 2), (40, 50, 3)])
def test_large_and_small_reading_are_bit_identical(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).normal(60, 20, shape).clip(0, 120)
    values[0, 0] = 0
    pixels = (values / 120) if dtype == "unit" else values.astype(dtype)
    field = PixelField(large_image(pixels))
    np.testing.assert_array_equal(field.read(0, 0, *shape[:2]), to_rgb(ImageInput(pixels)))


@pytest.mark.parametrize(("offset", "dtype"), [(2**63, "uint64"), (-(2**62), "int64")])
def test_a_large_image_keeps_the_digits_of_large_integers(offset: int, dtype: str) -> None:
    pixels = (np.arange(2000, dtype=np.int64).reshape(40, 50) + offset % 2**63).astype(dtype)
    if offset > 0:
        pixels += np.uint64(2**63)
    field = PixelField(large_image(pixels))
    np.testing.assert_array_equal(field.read(0, 0, 40, 50), to_rgb(ImageInput(pixels)))


def test_values_below_the_fitted_minimum_are_black() -> None:
    level = np.full((8, 8), 500, np.uint16)
    level[:4] = 400
    fitted = IntensityRange.fit(level)
    np.testing.assert_array_equal(
        fitted.apply(np.array([[3, 400, 500, 60_000]], "u2")), [[0, 0, 1, 1]]
    )


@pytest.mark.parametrize("value", [-9999, "nan", -3.4028234663852886e38, 65535])
def test_pixels_declared_as_without_data_do_not_stretch_the_intensities(tmp_path, value):
    dtype = "uint16" if value == 65535 else "float32"
    plain = np.random.default_rng(1).integers(200, 900, (40, 50)).astype(dtype)
    plain[0, 0] = 199
    gap = plain.copy()
    gap[10:20, :] = np.float32(value) if dtype == "float32" else value
    for name, pixels, tags in (
        ("plain", plain, []),
        ("gap", gap, [(42113, "s", 0, str(value), True)]),
        ("other", plain, [(42113, "s", 0, "-1", True)]),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, extratags=tags)
    rgb = {name: to_rgb(read_image(tmp_path / f"{name}.tif")) for name in ("plain", "gap", "other")}
    measured = np.r_[0:10, 20:40]
    np.testing.assert_allclose(rgb["gap"][measured], rgb["plain"][measured], atol=0.02)
    assert not rgb["gap"][10:20].any(), "as dark as the darkest"
    np.testing.assert_array_equal(rgb["other"], rgb["plain"])
    with open_large(tmp_path / "gap.tif") as large:
        np.testing.assert_array_equal(PixelField(large).read(0, 0, 40, 50), rgb["gap"])
        np.testing.assert_array_equal(PixelField(large).read(8, 5, 9, 7), rgb["gap"][8:17, 5:12])
    options = {"photometric": "minisblack", "extratags": [(42113, "s", 0, str(value), True)]}
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([plain, gap]), **options)
    with TiffStack(tmp_path / "stack.tif") as stack:
        stack.check()
        np.testing.assert_array_equal(to_rgb(stack.read(0)), rgb["plain"])
        np.testing.assert_array_equal(to_rgb(stack.read(1)), rgb["gap"])


def test_an_image_without_any_data_is_constant(tmp_path):
    tags = [(42113, "s", 0, "nan", True)]
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), np.nan, "f4"), extratags=tags)
    with pytest.raises(ImageError, match="constant"):
        read_image(tmp_path / "a.tif")


def test_only_pixels_without_data_in_all_colours_are_filled(tmp_path):
    colours = np.random.default_rng(1).integers(9, 255, (30, 30, 3)).astype(np.uint8)
    colours[:9], colours[20:, :, 0] = 255, 255
    tags = [(42113, "s", 0, "255", True)]
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", extratags=tags)
    pixels = read_image(tmp_path / "a.tif").pixels
    np.testing.assert_array_equal(pixels[9:], colours[9:])
    assert (pixels[:9] == colours[9:].min(axis=(0, 1))).all()
    mask = np.zeros((30, 30), np.uint8)
    mask[4:9] = 1
    tifffile.imwrite(tmp_path / "m.tif", mask, extratags=[(42113, "s", 0, "0", True)])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), mask > 0)
    tags = [(42113, "s", 0, "255", True)]
    tifffile.imwrite(tmp_path / "m.tif", np.where(mask, 255, 0).astype("u1"), extratags=tags)
    with pytest.raises(ImageError, match="value 255 as without data"):
        read_mask(tmp_path / "m.tif")
    with open_large(tmp_path / "a.tif") as large:
        part = PixelField(large).read(5, 0, 10, 30)
    np.testing.assert_array_equal(part, pixels[5:15] / np.float32(255))
