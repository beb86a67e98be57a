"""Masks read from files."""

from __future__ import annotations

import io
import re
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images import mask_blocks
from latentfm_core.images.intensity import different_values
from latentfm_core.images.lossless import is_lossless
from latentfm_core.images.mask_levels import are_numbers, levels_of
from latentfm_core.images.mask_rims import rim_grade
from latentfm_core.images.masks import read_instances, read_labels, read_mask, read_numbers
from latentfm_core.images.read import read_image
from latentfm_core.prompts.files import read_prompts
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
def test_labels_in_pgm_files_keep_their_values(tmp_path, highest):
    labels = np.repeat(np.array([[0, 1, 2]], np.uint16), 4, axis=0)
    stored = labels.astype(">u2" if highest > 255 else "u1")
    path = tmp_path / "m.pgm"
    path.write_bytes(f"P5\n3 4\n{highest}\n".encode() + stored.tobytes())
    np.testing.assert_array_equal(read_numbers(path), labels)
    np.testing.assert_array_equal(read_labels(path, 2), labels)


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_in_png_files_of_few_bits_keep_their_values(tmp_path, bits):
    def write(values):
        row = int("".join(f"{value:0{bits}b}" for value in values), 2)
        data = (b"\0" + row.to_bytes(bits // 2, "big")) * 2
        write_png(tmp_path / "m.png", (4, 2, bits, 0, 0), zlib.compress(data))
        return tmp_path / "m.png"

    np.testing.assert_array_equal(read_labels(write([0, 1, 2, 2]), 2)[0], [0, 1, 2, 2])
    np.testing.assert_array_equal(read_annotation(write([0, 1, 2, 2]))[0][1], [0, 1, 2, 2])
    highest = 2**bits - 1
    # Other masks of the folder have grey levels and need a threshold.
    for threshold in (None, 127):
        assert read_mask(write([0, highest, 0, 0]), threshold)[0].tolist() == [0, 1, 0, 0]
        assert read_mask(write([highest] * 4), threshold).all()


def test_colour_masks_of_16_bits_are_refused_as_small_labels_would_be_lost(tmp_path):
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
def test_labels_in_lossless_files_are_read(tmp_path, name, options):
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
def test_labels_in_lossy_files_of_the_same_formats_are_refused(tmp_path, name, options):
    rows, columns = np.mgrid[:120, :160]
    labels = np.zeros((120, 160), np.uint8)
    for number in range(1, 9):
        at = (rows - 13 * number) ** 2 + (columns - 17 * number) ** 2 < 300
        labels[at] = 20 * number
    colours = labels if name.endswith("jp2") else np.repeat(labels[..., None], 3, axis=2)
    Image.fromarray(colours).save(tmp_path / name, **options)
    with pytest.raises(ImageError, match=r"lossy compression|the mask is coloured"):
        read_numbers(tmp_path / name)


def test_a_bit_depth_that_pillow_rescales_counts_as_lossy(tmp_path):
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
    # A threshold of 127 does not apply to a mask with 0 and 1.
    assert read_mask(one, threshold)[0].sum() == (0 if threshold == 1.5 else 2)


# --- numbers or grey levels ---------------------------------------------------------------------


def drawn(*levels):
    """Return a square of each level next to a disc of 255."""
    mask = np.zeros((96, 160), np.uint8)
    rows, columns = np.ogrid[:96, :160]
    mask[(rows - 40) ** 2 + (columns - 40) ** 2 < 30**2] = 255
    for number, level in enumerate(levels):
        mask[8 + 30 * number : 30 + 30 * number, 90:130] = level
    return mask


def as_jpeg(mask, quality):
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def resized(mask, factor, how=Image.Resampling.BILINEAR):
    size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
    return np.asarray(Image.fromarray(mask).resize(size, how))


SMOOTHED = {
    "halved": resized(drawn(), 0.5),
    "enlarged": resized(drawn(), 2.0, Image.Resampling.BICUBIC),
    "labels enlarged": resized(drawn(40, 120), 1.7),
    "jpeg 75": as_jpeg(drawn(), 75),
    "jpeg 98": as_jpeg(drawn(), 98),
    "jpeg 98 of labels": as_jpeg(drawn(40, 120), 98),
    "16 bits": resized(drawn(), 0.5).astype(np.uint16) * 257,
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("smoothed", SMOOTHED)
def test_grey_levels_are_never_read_as_labels(tmp_path, smoothed, suffix):
    """Every level would become an object of a few pixels."""
    path = save(tmp_path / f"m{suffix}", SMOOTHED[smoothed])
    with pytest.raises(ImageError, match="not binary"):
        read_mask(path)
    readers = (
        read_instances,
        read_annotation,
        lambda path: read_labels(path, 200),
        lambda path: read_prompts(path).of(Path("m.png")),
        lambda path: read_prompts(path.parent).of(Path("m.png")),
    )
    for read in readers:
        with pytest.raises(ImageError, match=r"m\..*its values are grey levels"):
            read(path)


def test_label_values_of_many_kinds_are_not_grey_levels(tmp_path):
    rng = np.random.default_rng(0)
    seeds = np.zeros((60, 80), np.uint16)
    seeds.flat[rng.permutation(seeds.size)[:60]] = np.arange(1, 61) * 7
    cells = np.kron(rng.permutation(12 * 16).reshape(12, 16) + 1, np.ones((5, 5))).astype(np.uint16)
    border = drawn(15)
    border[resized(resized(border, 0.5), 2.0) % 255 > 15] = 255
    lines = np.zeros((60, 80), np.uint8)
    lines[10], lines[20:23], lines[:, 40] = 90, 180, 250
    for mask in (seeds, cells, border, lines, drawn(100, 128), drawn() // 255 * 200):
        path = save(tmp_path / "m.tif", mask)
        np.testing.assert_array_equal(read_instances(path), mask)
        read_annotation(path)


def layers(count, thick, below=0):
    """Return numbered layers of some thickness that follow a wave, and what is below them."""
    top = 60 + 15 * np.sin(np.arange(200) / 40) + 4 * np.sin(np.arange(200) / 9)
    depth = np.floor((np.arange(160)[:, np.newaxis] - top) / thick)
    mask = np.where((depth >= 0) & (depth < count), depth + 1, 0)
    return np.where(depth >= count, below, mask).astype(np.uint8)


@pytest.mark.parametrize("count", [6, 9, 12, 30])
@pytest.mark.parametrize("thick", [1, 1.6, 3])
def test_thin_layers_are_labels(tmp_path, count, thick):
    for mask in (layers(count, thick), layers(count, thick, count), layers(count, thick).T):
        path = save(tmp_path / "m.png", mask)
        np.testing.assert_array_equal(read_labels(path, count), mask)
        np.testing.assert_array_equal(read_annotation(path)[0], mask)
        assert rim_grade(mask) == 0


def test_labels_that_look_smoothed_are_read_on_request(tmp_path):
    path = save(tmp_path / "m.png", SMOOTHED["labels enlarged"])
    keep = ReadingConfig(keep_numbers=True)
    for read in (read_instances, read_annotation):
        with pytest.raises(ImageError, match="set --keep-numbers"):
            read(path)
    np.testing.assert_array_equal(read_instances(path, keep), SMOOTHED["labels enlarged"])
    np.testing.assert_array_equal(read_annotation(path, keep)[0], SMOOTHED["labels enlarged"])
    soft = resized(drawn(9), 2.0).astype(np.float32)
    soft = np.rint(soft / soft.max() * 12).astype(np.uint8)
    with pytest.raises(ImageError, match="grey levels"):
        read_instances(save(path, soft))


def test_large_masks_are_checked_in_little_memory_with_the_same_answer(monkeypatch):
    drawing = np.kron(resized(drawn(40, 120), 1.7), np.ones((16, 16), np.uint8))
    for mask in (drawing, drawing.astype(np.uint16) * 200):
        tracemalloc.start()
        values = different_values(mask)
        levels, numbers = levels_of(mask), are_numbers(mask, values)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 2 * mask.size
        monkeypatch.setattr(mask_blocks, "_PIECE", 2**30)
        assert (levels_of(mask), are_numbers(mask, values)) == (levels, numbers)
        monkeypatch.setattr(mask_blocks, "_PIECE", 2**17)


@pytest.mark.parametrize(
    "mask",
    [
        as_jpeg(drawn(), 98),
        as_jpeg(drawn(), 95),
        as_jpeg(np.kron(drawn() > 0, np.ones((3, 3))).astype(np.uint8) * 255, 98),
        as_jpeg(np.pad(np.full((90, 130), 255, np.uint8), 43), 75),
    ],
    ids=["98", "95", "large", "box"],
)
def test_compression_noise_is_below_the_suggested_threshold(tmp_path, mask):
    path = save(tmp_path / "m.png", mask)
    with pytest.raises(ImageError, match=r"for example --mask-threshold 127\.5") as raised:
        read_mask(path)
    assert "numbers" not in str(raised.value)


@pytest.mark.parametrize("levels", [(80, 128), (60,), (200, 100)])
@pytest.mark.parametrize(
    "damage",
    [
        lambda mask, path: Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=90),
        lambda mask, path: save(path, as_jpeg(mask, 90)),
        lambda mask, path: save(path, resized(mask, 0.6)),
        lambda mask, path: tifffile.imwrite(path.with_suffix(".tif"), mask.astype("f4") / 300),
    ],
    ids=["jpeg", "jpeg as png", "resized", "probabilities"],
)
def test_a_threshold_that_would_lose_an_object_is_not_suggested(tmp_path, levels, damage):
    damage(drawn(*levels), tmp_path / "m.png")
    (path,) = tmp_path.iterdir()
    with pytest.raises(ImageError, match="around the grey levels 0, ") as raised:
        read_mask(path)
    assert not re.search(r"--mask-threshold [\d.]", str(raised.value))
    if path.suffix == ".jpg":
        with pytest.raises(ImageError, match="around the grey levels 0, "):
            read_mask(path, 0.5)


def test_many_labels_changed_by_compression_get_no_suggested_threshold(tmp_path):
    mask = np.kron(np.arange(1, 241, dtype=np.uint8).reshape(12, 20), np.ones((12, 12), np.uint8))
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=92)
    with pytest.raises(ImageError, match="around the grey levels"):
        read_mask(tmp_path / "m.jpg")


def test_labels_without_a_background_keep_all_objects_but_the_lowest(tmp_path):
    path = save(tmp_path / "m.png", np.kron(np.uint8([[1, 2], [3, 1]]), np.ones((9, 9), np.uint8)))
    with pytest.raises(ImageError, match=r"--mask-threshold 1\.5"):
        read_mask(path)


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (drawn() / np.float32(255), {}),
        (drawn().astype(np.float64), {}),
        (np.repeat(drawn()[..., np.newaxis], 3, axis=2), {"photometric": "rgb"}),
        (
            (drawn() == 0).astype(np.uint8),
            {
                "photometric": "palette",
                "colormap": np.uint16([[65535] + [0] * 255] * 2 + [[0] * 256]),
            },
        ),
        (drawn()[np.newaxis] / np.float32(255), {}),
    ],
    ids=["float", "double", "rgb", "white first", "one plane"],
)
def test_a_tiff_mask_that_training_reads_opens_as_an_annotation(tmp_path, stored, options):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, stored, **options)
    np.testing.assert_array_equal(read_mask(path), drawn() > 0)
    np.testing.assert_array_equal(read_annotation(path)[0].reshape(96, 160), drawn() > 0)


def test_a_stack_of_integral_floats_opens_as_an_annotation(tmp_path):
    stack = np.stack([drawn(3), drawn(7), drawn()])
    options = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "s.tif", stack.astype(np.float32), **options)
    np.testing.assert_array_equal(read_annotation(tmp_path / "s.tif")[0], stack)
    tifffile.imwrite(tmp_path / "s.tif", stack / np.float32(300), **options)
    with pytest.raises(ImageError, match="not integers"):
        read_annotation(tmp_path / "s.tif")


def test_numbers_of_half_precision_are_read_without_a_warning(tmp_path):
    labels = np.array([[0, 1], [2, 2]])
    tifffile.imwrite(tmp_path / "a.tif", labels.astype(np.float16))
    np.testing.assert_array_equal(read_instances(tmp_path / "a.tif"), labels)
