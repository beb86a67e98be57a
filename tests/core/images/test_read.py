"""Images from files: formats, channels, orientation and pixel size."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.errors import ImageError
from latentfm_core.images.read import read_image, read_mask, to_rgb
from latentfm_core.names import name_some
from tests.helpers.pictures import rgb, save, write_png16

__all__ = ["rgb"]


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
        options = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
        tifffile.imwrite(path, pixels, **(options if channels == 2 else {"photometric": "rgb"}))
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
        ((3, 20, 30), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, (20, 30, 3)),
        ((4, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, (20, 30, 4)),
        ((1, 20, 30, 1), {}, (20, 30)),
        ((1, 1, 20, 30), {"imagej": True}, (20, 30)),
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
        ((7, 20, 30), {"photometric": "minisblack"}),
        ((20, 30, 2), {}),
        ((20, 30, 5), {}),
        ((2, 20, 30, 3), {"photometric": "rgb"}),
    ],
)
def test_stacks_and_ambiguous_pages_are_refused(tmp_path, shape, options):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, np.random.default_rng(3).integers(0, 99, shape, dtype=np.uint8), **options
    )
    with pytest.raises(ImageError, match=r"stack\.tif.*one 2D plane"):
        read_image(path)


@pytest.mark.parametrize("metadata", [None, {}])
def test_unlabelled_pages_are_a_stack(tmp_path, metadata):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for value in range(3):
            page = np.arange(600, dtype=np.uint8).reshape(20, 30) + np.uint8(value)
            writer.write(page, metadata=metadata, contiguous=False)
    with pytest.raises(ImageError, match="stack"):
        read_image(path)


def test_lzw_tiff_is_read_without_optional_codecs(tmp_path, rgb):
    path = save(tmp_path / "a.tif", rgb, compression="tiff_lzw", dpi=(25400, 25400))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, rgb)
    assert image.spacing == pytest.approx((1, 1))


def test_another_format_with_a_tiff_name_is_read(tmp_path, rgb):
    path = tmp_path / "a.tif"
    save(tmp_path / "a.png", rgb).rename(path)
    np.testing.assert_array_equal(read_image(path).pixels, rgb)


def test_palette_is_applied(tmp_path):
    indexed = Image.fromarray(np.tile(np.uint8([0, 1]), (10, 6)), mode="P")
    indexed.putpalette([200, 10, 20, 30, 40, 250])
    indexed.save(tmp_path / "p.png")
    pixels = read_image(tmp_path / "p.png").pixels
    assert pixels[0, 0].tolist() == [200, 10, 20]
    assert pixels[0, 1].tolist() == [30, 40, 250]


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
def test_orientation_is_applied_in_every_format(tmp_path, orientation, suffix):
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
        ({"resolution": (254, 254), "resolutionunit": "inch"}, None, "pixel"),
        ({"resolution": (25400, 25400), "resolutionunit": "inch"}, (1, 1), "micrometer"),
        ({"resolution": (10000, 10000), "resolutionunit": "centimeter"}, (1, 1), "micrometer"),
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
        *[
            (
                {
                    "ome": True,
                    "metadata": {
                        "axes": "YX",
                        "PhysicalSizeX": x,
                        "PhysicalSizeXUnit": x_unit,
                        "PhysicalSizeY": y,
                        "PhysicalSizeYUnit": y_unit,
                    },
                },
                spacing,
                unit,
            )
            for x, x_unit, y, y_unit, spacing, unit in (
                (0.5, "µm", 700, "nm", (0.7, 0.5), "micrometer"),
                (500, "pm", 0.6, "nm", (0.6, 0.5), "nanometer"),
                (0.5, "µm", 1, "pixel", None, "pixel"),
            )
        ],
        (
            {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "pm"}},
            (0.0005, 0.00025),
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


def test_pixel_size_is_rotated_with_the_image(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        np.arange(600, dtype=np.uint16).reshape(20, 30),
        resolution=(1000, 2000),
        resolutionunit="centimeter",
        extratags=[(274, 3, 1, 6, True)],
    )
    assert read_image(path).spacing == pytest.approx((10, 5))


def test_an_image_with_several_masks_is_listed_once_in_messages() -> None:
    assert name_some(["b", "a", "b", "a"]) == "a, b"
    assert name_some([f"{number:02d}" for number in range(12)] * 3).endswith("08, 09 and 2 more")
