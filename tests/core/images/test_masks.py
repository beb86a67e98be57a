"""Masks read from files."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.lossless import is_lossless
from latentfm_core.images.masks import read_labels, read_mask, read_numbers
from latentfm_core.images.read import read_image
from tests.helpers.pictures import rgb, save, write_png, write_png16

__all__ = ["rgb"]


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


def test_grey_masks_are_refused_with_their_values_and_advice(tmp_path):
    path = save(tmp_path / "m.png", np.tile(np.arange(20, dtype=np.uint8) * 10, (8, 1)))
    with pytest.raises(ImageError, match=r"m\.png.* 0, 10, 20.*20 different.*--mask-threshold"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, threshold=100).sum(axis=1), 9)
    np.testing.assert_array_equal(read_mask(path, threshold=95).sum(axis=1), 10)


@pytest.mark.parametrize("values", [(1, 2), (7, 7), (0, 128, 255)])
def test_masks_that_are_not_binary(tmp_path, values):
    path = save(tmp_path / "m.png", np.resize(np.uint8(values), (9, 10)))
    with pytest.raises(ImageError, match=f"values are {values[0]}.*--mask-threshold"):
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


@pytest.mark.parametrize("highest", [2, 200, 1000, 65535])
def test_numbers_in_pgm_files_are_those_of_the_file(tmp_path, highest):
    labels = np.repeat(np.array([[0, 1, 2]], np.uint16), 4, axis=0)
    stored = labels.astype(">u2" if highest > 255 else "u1")
    path = tmp_path / "m.pgm"
    path.write_bytes(f"P5\n3 4\n{highest}\n".encode() + stored.tobytes())
    np.testing.assert_array_equal(read_numbers(path), labels)
    np.testing.assert_array_equal(read_labels(path, 2), labels)


@pytest.mark.parametrize("bits", [2, 4])
def test_numbers_in_png_files_of_few_bits_are_those_of_the_file(tmp_path, bits):
    def write(values):
        row = int("".join(f"{value:0{bits}b}" for value in values), 2)
        data = (b"\0" + row.to_bytes(bits // 2, "big")) * 2
        write_png(tmp_path / "m.png", (4, 2, bits, 0, 0), zlib.compress(data))
        return tmp_path / "m.png"

    np.testing.assert_array_equal(read_labels(write([0, 1, 2, 2]), 2)[0], [0, 1, 2, 2])
    np.testing.assert_array_equal(read_annotation(write([0, 1, 2, 2]))[0][1], [0, 1, 2, 2])
    highest = 2**bits - 1
    # As others of the folder, whose levels a threshold is meant for.
    for threshold in (None, 127):
        assert read_mask(write([0, highest, 0, 0]), threshold)[0].tolist() == [0, 1, 0, 0]
        assert read_mask(write([highest] * 4), threshold).all()


def test_colour_masks_of_16_bits_are_refused_since_small_numbers_would_be_lost(tmp_path):
    labels = np.zeros((4, 5, 3), np.uint16)
    labels[1:], labels[2:] = 200, 65535
    (tmp_path / "m.ppm").write_bytes(b"P6\n5 4\n65535\n" + labels.astype(">u2").tobytes())
    write_png16(tmp_path / "m.png", labels)
    for name in ("m.ppm", "m.png"):
        with pytest.raises(ImageError, match="small numbers would be lost"):
            read_mask(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("m.webp", {"lossless": True}),
        ("with profile.webp", {"lossless": True, "icc_profile": b"x" * 99}),
        ("m.jp2", {}),
        ("codestream.jp2", {"no_jp2": True}),
        ("layers.jp2", {"quality_mode": "rates", "quality_layers": [80, 20, 1]}),
    ],
)
def test_numbers_in_lossless_files_are_read(tmp_path, name, options):
    labels = np.zeros((60, 80), np.uint8)
    for number in range(1, 9):
        labels[number * 5 : number * 5 + 9, number * 8 - 5 : number * 7 + 3] = number
    colours = labels if name.endswith("jp2") else np.repeat(labels[..., None], 3, axis=2)
    Image.fromarray(colours).save(tmp_path / name, **options)
    np.testing.assert_array_equal(read_numbers(tmp_path / name), labels)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("m.webp", {"quality": 90}),
        ("wavelet.jp2", {"irreversible": True}),
        ("cut.jp2", {"quality_mode": "rates", "quality_layers": [40]}),
        ("noisy.jp2", {"quality_mode": "dB", "quality_layers": [40]}),
    ],
)
def test_numbers_in_lossy_files_of_the_same_formats_are_refused(tmp_path, name, options):
    rows, columns = np.mgrid[:120, :160]
    labels = np.zeros((120, 160), np.uint8)
    for number in range(1, 9):
        at = (rows - 13 * number) ** 2 + (columns - 17 * number) ** 2 < 300
        labels[at] = 20 * number
    colours = labels if name.endswith("jp2") else np.repeat(labels[..., None], 3, axis=2)
    Image.fromarray(colours).save(tmp_path / name, **options)
    with pytest.raises(ImageError, match=r"lossy compression|the mask is coloured"):
        read_numbers(tmp_path / name)


def test_a_precision_that_pillow_shifts_counts_as_lossy(tmp_path):
    labels = np.repeat(np.array([[0, 1, 2, 3]], np.uint8), 4, axis=0)
    Image.fromarray(labels).save(tmp_path / "m.jp2", no_jp2=True)
    assert is_lossless(tmp_path / "m.jp2", labels)
    content = bytearray((tmp_path / "m.jp2").read_bytes())
    content[content.index(b"\xff\x51") + 4 + 36] = 3  # four bits, which Pillow multiplies by 16
    (tmp_path / "m.jp2").write_bytes(content)
    assert not is_lossless(tmp_path / "m.jp2", labels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif", ".bmp"])
@pytest.mark.parametrize("channel", [1, 2, 3])
def test_a_channel_does_not_apply_to_the_colour_table_of_a_mask(tmp_path, suffix, channel):
    labels = np.repeat(np.array([[0, 1, 2]], np.uint8), 4, axis=0)
    limits = ReadingConfig(channel=channel)
    path = tmp_path / f"m{suffix}"
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(path)
    np.testing.assert_array_equal(read_labels(path, 2, limits), labels)
    picture = Image.fromarray(labels // 2)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path)
    np.testing.assert_array_equal(read_mask(path, limits=limits), labels == 2)
    expected = (labels == 2) * (255 if channel == 1 else 0)
    if channel == 1:
        np.testing.assert_array_equal(read_image(path, limits).pixels, expected)
    else:
        with pytest.raises(ImageError, match="constant"):
            read_image(path, limits)


@pytest.mark.parametrize(("threshold", "marked"), [(0.5, 2), (1.5, 1), (127, 0)])
def test_a_threshold_between_labels_applies_to_every_mask(tmp_path, threshold, marked):
    two = save(tmp_path / "two.png", np.array([[0, 1, 2]] * 4, np.uint8))
    one = save(tmp_path / "one.png", np.array([[0, 1, 1]] * 4, np.uint8))
    assert read_mask(two, threshold)[0].sum() == marked
    # A grey level of 127 says nothing of a mask with 0 and 1.
    assert read_mask(one, threshold)[0].sum() == (0 if threshold == 1.5 else 2)
