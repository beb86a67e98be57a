"""Images and masks from files, and the rule that turns any pixels into RGB."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.data.images import (
    check_pixels,
    list_images,
    read_image,
    read_mask,
    to_rgb,
)
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.types import ImageInput


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def write_png16(path: Path, pixels: np.ndarray) -> Path:
    """Write a 16-bit RGB PNG, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


# --- read_image: formats and channels -------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".tga", ".TIFF", ".PNG"])
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_lossless_formats_are_read_exactly(tmp_path, rgb, suffix, mode):
    pixels = rgb[..., 0] if mode == "grey" else rgb
    image = read_image(save(tmp_path / f"a{suffix}", pixels))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == np.uint8
    assert image.name == "a"


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".jp2"])
def test_lossy_formats_are_read_closely(tmp_path, suffix):
    ramp = np.linspace(0, 255, 64 * 48).reshape(48, 64)
    pixels = np.stack([ramp, ramp[::-1], np.full_like(ramp, 90)], axis=-1).astype(np.uint8)
    image = read_image(save(tmp_path / f"a{suffix}", pixels))
    assert image.pixels.shape == (48, 64, 3)
    assert np.abs(image.pixels.astype(float) - pixels).mean() < 6


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_channel_counts(tmp_path, channels, suffix):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        save(path, pixels)
    else:
        tifffile.imwrite(path, pixels)
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "float16", "float32", ">u2"]
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_keeps_values_and_uses_native_byte_order(tmp_path, dtype, compression):
    pixels = np.random.default_rng(2).integers(0, 120, (20, 30)).astype(dtype)
    byteorder = ">" if dtype.startswith(">") else "<"
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression=compression, byteorder=byteorder)
    read = read_image(path).pixels
    assert read.dtype.isnative
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, (20, 30, 3)),
        ((3, 20, 30), {"imagej": True}, (20, 30, 3)),
        ((2, 20, 30), {"metadata": {"axes": "CYX"}}, (20, 30, 2)),
        ((3, 20, 30), {"photometric": "minisblack"}, (20, 30, 3)),
        ((20, 30, 2), {}, (20, 30, 2)),
        ((1, 20, 30, 1), {}, (20, 30)),
        ((1, 1, 20, 30), {"imagej": True}, (20, 30)),
        ((4, 20, 30), {"ome": True, "metadata": {"axes": "CYX"}}, (20, 30, 4)),
    ],
)
def test_tiff_axes_become_rows_columns_channels(tmp_path, shape, options, expected):
    pixels = np.random.default_rng(3).integers(0, 9999, shape, dtype=np.uint16)
    path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
    tifffile.imwrite(path, pixels, **options)
    read = read_image(path).pixels
    assert read.shape == expected
    if shape[0] == expected[-1]:
        pixels = np.moveaxis(pixels, 0, -1)
    np.testing.assert_array_equal(read, pixels.reshape(expected))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 20, 30), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}),
        ((3, 20, 30), {"imagej": True, "metadata": {"axes": "TYX"}}),
        ((7, 20, 30), {"photometric": "minisblack"}),
        ((20, 30, 5), {}),
        ((5, 20, 30), {"metadata": {"axes": "CYX"}}),
        ((2, 20, 30, 3), {"photometric": "rgb"}),
    ],
)
def test_stacks_and_too_many_channels_are_refused(tmp_path, shape, options):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, np.random.default_rng(3).integers(0, 99, shape, dtype=np.uint8), **options
    )
    with pytest.raises(ImageError, match=r"stack\.tif.*one 2D plane"):
        read_image(path)


@pytest.mark.parametrize("metadata", [None, {}])
def test_pages_without_labels_are_a_stack(tmp_path, metadata):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for value in range(3):
            page = np.arange(600, dtype=np.uint8).reshape(20, 30) + np.uint8(value)
            writer.write(page, metadata=metadata, contiguous=False)
    with pytest.raises(ImageError, match="stack"):
        read_image(path)


def test_lzw_tiff_is_read_without_optional_codecs(tmp_path, rgb):
    path = save(tmp_path / "a.tif", rgb, compression="tiff_lzw", dpi=(254, 254))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, rgb)
    assert image.spacing == pytest.approx((100, 100))


def test_other_format_under_a_tiff_name_is_read(tmp_path, rgb):
    path = tmp_path / "a.tif"
    save(tmp_path / "a.png", rgb).rename(path)
    np.testing.assert_array_equal(read_image(path).pixels, rgb)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.tile(np.uint8([[v, 255]]), (20, 15))) for v in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    pixels = read_image(tmp_path / "a.gif").pixels
    assert pixels.shape[:2] == (20, 30)
    assert pixels[..., 0].min() == 10


def test_palette_is_applied_and_cmyk_becomes_rgb(tmp_path):
    indexed = Image.fromarray(np.tile(np.uint8([0, 1]), (10, 6)), mode="P")
    indexed.putpalette([200, 10, 20, 30, 40, 250])
    indexed.save(tmp_path / "p.png")
    pixels = read_image(tmp_path / "p.png").pixels
    assert pixels[0, 0].tolist() == [200, 10, 20]
    assert pixels[0, 1].tolist() == [30, 40, 250]
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[:8, :, 0] = 255
    Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "c.jpg")
    pixels = read_image(tmp_path / "c.jpg").pixels
    assert pixels.shape == (16, 16, 3)
    assert pixels[1, 1, 0] < 40 < 200 < pixels[1, 1, 1]


def test_palette_tiff(tmp_path):
    table = np.zeros((3, 256), np.uint16)
    table[0, 1] = 65535
    indices = np.tile(np.uint8([0, 1]), (10, 6))
    tifffile.imwrite(tmp_path / "p.tif", indices, photometric="palette", colormap=table)
    pixels = read_image(tmp_path / "p.tif").pixels
    assert pixels[0, :2].tolist() == [[0, 0, 0], [255, 0, 0]]


def test_16_bit_colour_png_is_scaled_by_its_own_range(tmp_path):
    dim = np.random.default_rng(4).integers(0, 4096, (32, 32, 3), dtype=np.uint16)
    image = to_rgb(read_image(write_png16(tmp_path / "a.png", dim)))
    assert image.max() > 0.95
    assert image.min() == 0


# --- read_image: orientation and pixel size -------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_orientation_is_applied_alike_in_every_format(tmp_path, orientation, suffix):
    pixels = np.zeros((32, 48), np.uint8)
    pixels[:16, :24] = 200  # upper left as stored
    pixels[16:, :24] = 100  # lower left
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, extratags=[(274, 3, 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[274] = orientation
        save(path, pixels, exif=exif)
    shown = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels, 1),
    }[orientation]
    read = read_image(path).pixels
    assert read.shape == shown.shape
    assert np.abs(read.astype(int) - shown).mean() < 2
    mask = read_mask(path, threshold=150)
    np.testing.assert_array_equal(mask, shown > 150)


@pytest.mark.parametrize(
    ("options", "spacing", "unit"),
    [
        ({"resolution": (1000, 2000), "resolutionunit": "centimeter"}, (5, 10), "micrometer"),
        ({"resolution": (254, 254), "resolutionunit": "inch"}, (100, 100), "micrometer"),
        ({"resolution": (72, 72), "resolutionunit": "inch"}, None, "pixel"),
        ({"resolution": (4, 4), "resolutionunit": "none"}, None, "pixel"),
        ({}, None, "pixel"),
        (
            {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}},
            (0.5, 0.25),
            "micrometer",
        ),
        (
            {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "parsec"}},
            None,
            "pixel",
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "YX",
                    "PhysicalSizeX": 20,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 30,
                    "PhysicalSizeYUnit": "nm",
                },
            },
            (30, 20),
            "nanometer",
        ),
    ],
)
def test_pixel_size_of_tiffs(tmp_path, options, spacing, unit):
    path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
    tifffile.imwrite(path, np.arange(600, dtype=np.uint16).reshape(20, 30), **options)
    image = read_image(path)
    assert image.unit == unit
    if spacing is None:
        assert image.spacing is None
    else:
        assert image.spacing == pytest.approx(spacing)


def test_pixel_size_turns_with_the_picture(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.arange(600, dtype=np.uint16).reshape(20, 30),
        resolution=(1000, 2000),
        resolutionunit="centimeter",
        extratags=[(274, 3, 1, 6, True)],
    )
    assert read_image(path).spacing == pytest.approx((10, 5))


# --- read_image: bad files -------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tif", ".ppm", ".jp2"]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_errors_not_half_pictures(tmp_path, rgb, suffix, kept):
    path = save(tmp_path / f"cut{suffix}", rgb)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"cut\."):
        read_image(path)
    with pytest.raises(ImageError, match=r"cut\."):
        read_mask(path, threshold=100)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_tiffs(tmp_path, rgb, compression, kept):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, rgb, compression=compression, rowsperstrip=8)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"cut\.tif"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("content", [b"", b"this is text, no picture", bytes(500)])
def test_files_that_are_no_images(tmp_path, suffix, content):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"odd\..*cannot be read"):
        read_image(path)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.png.*no such file"):
        read_image(tmp_path / "nowhere.png")


def test_bad_content_names_the_file(tmp_path):
    path = tmp_path / "flat.png"
    save(path, np.full((20, 20), 7, np.uint8))
    with pytest.raises(ImageError, match=r"flat\.png.*constant.*7"):
        read_image(path)


# --- check_pixels ------------------------------------------------------------------------------


def bad_arrays() -> list[tuple[np.ndarray, str]]:
    good = np.random.default_rng(0).random((20, 30))
    nan, inf = good.copy(), good.copy()
    nan[3, 4] = np.nan
    inf[0, :2] = [np.inf, -np.inf]
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 255
    hidden = np.full((20, 30, 4), 9, np.uint8)
    hidden[..., 3] = np.arange(30)
    return [
        (nan, "1 NaN or infinite"),
        (inf, "2 NaN or infinite"),
        (np.zeros((20, 30), np.uint8), "constant"),
        (np.ones((20, 30), bool), "constant"),
        (red, "constant.*255, 0, 0"),
        (hidden, "constant"),
        (np.zeros((1, 1), np.uint8), "too few"),
        (np.arange(50.0).reshape(1, 50), "too few"),
        (np.arange(50.0).reshape(50, 1), "too few"),
        (np.zeros((0, 5)), "too few"),
        (np.arange(600.0).reshape(10, 12, 5), "5 channels"),
        (np.arange(360.0).reshape(3, 10, 12), "12 channels"),
        (np.arange(720.0).reshape(2, 3, 10, 12), "4 dimensions"),
        (np.arange(20.0), "1 dimensions"),
        (good.astype(complex), "complex"),
        (good.astype(object), "object"),
        (good.astype("datetime64[s]"), "datetime"),
    ]


@pytest.mark.parametrize(("pixels", "reason"), bad_arrays())
def test_unusable_arrays_are_refused_by_name(pixels, reason):
    image = ImageInput(pixels, name="layer 1")
    for function in (check_pixels, to_rgb):
        with pytest.raises(ImageError, match=f"layer 1: .*{reason}"):
            function(image)


def test_one_pixel_at_the_end_is_enough_to_be_no_constant_image():
    pixels = np.full((200, 30, 3), 7, np.uint8)
    pixels[-1, -1, 2] = 8
    check_pixels(ImageInput(pixels))


# --- to_rgb ---------------------------------------------------------------------------------


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


def test_uint8_and_bool_go_by_their_range():
    dim = np.arange(100, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_allclose(to_rgb(ImageInput(dim))[..., 1], dim / 255, rtol=1e-6)
    checks = np.indices((4, 4)).sum(0) % 2 == 0
    np.testing.assert_array_equal(to_rgb(ImageInput(checks))[..., 0], checks)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_within_0_and_1_stay(dtype):
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


def test_few_bright_pixels_on_a_flat_ground_are_kept():
    values = np.zeros((100, 100), np.uint16)
    values[50, 50] = 500
    rgb = to_rgb(ImageInput(values))
    assert rgb[50, 50].tolist() == [1, 1, 1]
    assert rgb.sum() == 3


def test_channels_share_one_scale():
    values = np.random.default_rng(8).integers(0, 1000, (50, 50, 3)).astype(np.uint16)
    values[..., 2] //= 10
    rgb = to_rgb(ImageInput(values))
    assert rgb[..., 2].max() < 0.12


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_changes_nothing(channels):
    values = np.random.default_rng(9).integers(0, 9999, (20, 20, channels)).astype(np.uint16)
    other = values.copy()
    other[..., -1] = 65535 - other[..., -1]
    np.testing.assert_array_equal(to_rgb(ImageInput(values)), to_rgb(ImageInput(other)))


def test_views_are_read_and_left_alone():
    base = np.random.default_rng(10).integers(0, 9999, (40, 60, 3)).astype(np.int32)
    view = base[::-2, ::3]
    before = base.copy()
    rgb = to_rgb(ImageInput(view))
    np.testing.assert_array_equal(rgb, to_rgb(ImageInput(view.copy())))
    np.testing.assert_array_equal(base, before)


def test_percentiles_of_large_images_stay_close():
    values = np.random.default_rng(11).normal(500, 100, (2300, 2300)).astype(np.float32)
    low, high = np.percentile(values, (0.1, 99.9))
    expected = np.clip((values - low) / (high - low), 0, 1)
    assert np.abs(to_rgb(ImageInput(values))[..., 0] - expected).max() < 0.01


# --- masks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((0, 1), "uint8"),
        ((0, 255), "uint8"),
        ((0, 7), "uint8"),
        ((0, 1), "bool"),
        ((0, 65535), "uint16"),
        ((0, 1), "float32"),
        ((0, 0), "uint8"),
        ((255, 255), "uint8"),
        ((1, 1), "uint8"),
        ((-1, 0), "int16"),
    ],
)
def test_binary_masks(tmp_path, values, dtype):
    pattern = np.indices((12, 17)).sum(0) % 3 == 0
    stored = np.where(pattern, values[1], values[0]).astype(dtype)
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, stored)
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, stored != 0)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_masks_of_every_png_mode(tmp_path, mode):
    pattern = np.indices((12, 17)).sum(0) % 3 == 0
    Image.fromarray(pattern.astype(np.uint8) * 255).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), pattern)


def test_palette_masks_whatever_their_colours(tmp_path):
    pattern = np.indices((12, 17)).sum(0) % 3 == 0
    image = Image.fromarray(pattern.astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "red.png")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "inverted.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "red.png"), pattern)
    np.testing.assert_array_equal(read_mask(tmp_path / "inverted.png"), ~pattern)


def test_grey_masks_name_their_values_and_the_way_out(tmp_path):
    path = save(tmp_path / "m.png", np.tile(np.arange(20, dtype=np.uint8) * 10, (8, 1)))
    with pytest.raises(ImageError, match=r"m\.png.* 0, 10, 20.*20 different.*--mask-threshold"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, threshold=100).sum(axis=1), 9)
    np.testing.assert_array_equal(read_mask(path, threshold=95).sum(axis=1), 10)


@pytest.mark.parametrize("values", [(1, 2), (7, 7), (0, 128, 255)])
def test_masks_that_are_not_binary(tmp_path, values):
    path = save(tmp_path / "m.png", np.resize(np.uint8(values), (9, 10)))
    with pytest.raises(ImageError, match=f"values {values[0]}.*--mask-threshold"):
        read_mask(path)


def test_coloured_masks_and_masks_in_alpha_are_refused(tmp_path, rgb):
    with pytest.raises(ImageError, match=r"c\.png.*coloured"):
        read_mask(save(tmp_path / "c.png", rgb))
    white = np.full((20, 20, 4), 255, np.uint8)
    white[:10, :, 3] = 0
    with pytest.raises(ImageError, match=r"a\.png.*alpha"):
        read_mask(save(tmp_path / "a.png", white))


def test_nan_in_masks(tmp_path):
    values = np.zeros((5, 5), np.float32)
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "m.tif", values)
    for threshold in (None, 0.5):
        with pytest.raises(ImageError, match=r"m\.tif.*NaN"):
            read_mask(tmp_path / "m.tif", threshold)


# --- folders --------------------------------------------------------------------------------


def test_list_images_sorts_and_leaves_out_what_is_no_image(tmp_path, rgb):
    for name in ("b.png", "a.JPG", "c.tiff", ".hidden.png"):
        save(tmp_path / name, rgb)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png", "c.tiff"]


def test_list_images_of_nothing(tmp_path):
    with pytest.raises(DatasetError, match="holds no images"):
        list_images(tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        list_images(tmp_path / "nowhere")
