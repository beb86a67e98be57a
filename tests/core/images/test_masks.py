"""Masks from files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.errors import ImageError
from latentfm_core.images.masks import read_labels, read_mask, read_numbers
from tests.helpers.pictures import rgb, save, write_png16

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


def test_colour_masks_of_16_bits_are_refused_since_small_numbers_would_be_lost(tmp_path):
    labels = np.zeros((4, 5, 3), np.uint16)
    labels[1:], labels[2:] = 200, 65535
    (tmp_path / "m.ppm").write_bytes(b"P6\n5 4\n65535\n" + labels.astype(">u2").tobytes())
    write_png16(tmp_path / "m.png", labels)
    for name in ("m.ppm", "m.png"):
        with pytest.raises(ImageError, match="small numbers would be lost"):
            read_mask(tmp_path / name)


def test_numbers_in_lossless_webp_files_are_read(tmp_path):
    labels = np.repeat(np.array([[0, 1, 2]], np.uint8), 4, axis=0)
    Image.fromarray(np.repeat(labels[..., None], 3, axis=2)).save(
        tmp_path / "m.webp", lossless=True
    )
    np.testing.assert_array_equal(read_numbers(tmp_path / "m.webp"), labels)


@pytest.mark.parametrize(("threshold", "marked"), [(0.5, 2), (1.5, 1), (127, 0)])
def test_a_threshold_between_labels_applies_to_every_mask(tmp_path, threshold, marked):
    two = save(tmp_path / "two.png", np.array([[0, 1, 2]] * 4, np.uint8))
    one = save(tmp_path / "one.png", np.array([[0, 1, 1]] * 4, np.uint8))
    assert read_mask(two, threshold)[0].sum() == marked
    # A grey level of 127 says nothing of a mask with 0 and 1.
    assert read_mask(one, threshold)[0].sum() == (0 if threshold == 1.5 else 2)
