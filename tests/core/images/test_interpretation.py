"""The meaning of pixels is read from metadata, never guessed from their order."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from skimage.draw import disk

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.decode import decode
from latentfm_core.images.open_large import open_large
from latentfm_core.images.read import read_image, read_instances, read_labels, read_mask
from latentfm_core.images.tiff_stack import TiffStack
from tests.helpers.pictures import write_png

SHAPE = (60, 80)
DRAWN = np.zeros(SHAPE, bool)
DRAWN[disk((25, 40), 15, shape=SHAPE)] = True
SECOND = ReadingConfig(channel=2)


def indexed(path: Path, indices: Any, table: list[tuple[int, int, int]], **options: Any) -> Path:
    image = Image.fromarray(np.asarray(indices, np.uint8), mode="P")
    image.putpalette([level for colour in table for level in colour])
    image.save(path, **options)
    return path


def agrees(path: Path) -> bool:
    """Return whether a mask is read correctly or refused."""
    try:
        return bool((read_mask(path) == DRAWN).all())
    except ImageError as error:
        return "save it" in str(error).lower()


# --- masks with a colour table --------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 90, 0), (255, 255, 255), (1, 0, 0)])
@pytest.mark.parametrize("first", ["background", "lesion"])
def test_black_is_background_at_any_place_in_the_table(
    tmp_path: Path, suffix: str, colour: tuple[int, int, int], first: str
) -> None:
    table = [(0, 0, 0), colour] if first == "background" else [colour, (0, 0, 0)]
    drawn = DRAWN if first == "background" else ~DRAWN
    path = indexed(tmp_path / f"m{suffix}", drawn, table)
    if suffix == ".bmp" and table == [(0, 0, 0), (255, 255, 255)]:
        with pytest.raises(ImageError, match=r"8-bit BMP.*Save it as PNG"):
            read_mask(path)  # Pillow reads it as 1-bit and all black
    else:
        np.testing.assert_array_equal(read_mask(path), DRAWN)


@pytest.mark.parametrize("colours", [2, 8, 256])
@pytest.mark.parametrize("method", list(Image.Quantize)[:3])
def test_indexed_masks_are_read(tmp_path: Path, colours: int, method: Any) -> None:
    rgb = np.zeros((*SHAPE, 3), np.uint8)
    rgb[DRAWN] = (200, 30, 90)
    Image.fromarray(rgb).quantize(colours, method).save(tmp_path / "m.png")
    assert agrees(tmp_path / "m.png")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([(255, 255, 255), (255, 0, 0)], "no black among its colours"),
        ([(200, 200, 0), (0, 0, 200)], "no black among its colours"),
        ([(255 - level,) * 3 for level in range(256)], "lookup table is inverted"),
        ([(level // 2 * 2 ^ 254,) * 3 for level in range(256)], "lookup table is inverted"),
    ],
)
def test_a_palette_without_a_clear_background_is_refused(
    tmp_path: Path, table: list[Any], reason: str
) -> None:
    indices = DRAWN * (len(table) - 1)
    path = indexed(tmp_path / "m.png", indices, table)
    for read in (read_mask, read_annotation, lambda file: read_labels(file, 2)):
        with pytest.raises(ImageError, match=f"m.png.*({reason}|index 0 of its colour table)"):
            read(path)
    with pytest.raises(ImageError, match=reason):
        read_mask(path, 127.5)


def test_transparency_of_a_colour_other_than_black_is_refused(tmp_path: Path) -> None:
    table = [(255, 255, 255), (255, 0, 0)]
    clear = indexed(tmp_path / "m.png", DRAWN, table, transparency=0)
    with pytest.raises(ImageError, match="transparent pixels"):
        read_mask(clear)
    black = indexed(tmp_path / "b.png", DRAWN, [(0, 0, 0), (255, 0, 0)], transparency=0)
    np.testing.assert_array_equal(read_mask(black), DRAWN)
    levels = indexed(tmp_path / "g.png", DRAWN, [(n, n, n) for n in range(256)], transparency=0)
    np.testing.assert_array_equal(read_mask(levels), DRAWN)


@pytest.mark.parametrize(
    ("values", "level"),
    [
        (DRAWN, 1),
        (DRAWN.astype(np.uint8) * 255, 255),
        (DRAWN.astype(np.uint8), 1),
        (DRAWN.astype(np.uint16) * 65535, 65535),
        (np.stack([DRAWN.astype(np.uint8) * 255] * 3, axis=-1), (255, 255, 255)),
    ],
)
def test_transparent_grey_levels_are_refused_unless_black(
    tmp_path: Path, values: Any, level: Any
) -> None:
    clear, black, other = (tmp_path / name for name in ("m.png", "b.png", "o.png"))
    Image.fromarray(values).save(clear, transparency=level)
    zero, unused = ((0,) * 3, (7,) * 3) if isinstance(level, tuple) else (0, 7)
    Image.fromarray(values).save(black, transparency=zero)
    for read in (read_mask, read_annotation, lambda file: read_mask(file, 0.5)):
        with pytest.raises(ImageError, match="transparent pixels that are not black"):
            read(clear)
    np.testing.assert_array_equal(read_mask(black), DRAWN)
    if values.dtype != np.bool_:
        Image.fromarray(values).save(other, transparency=unused)
        np.testing.assert_array_equal(read_mask(other), DRAWN)


def test_transparent_levels_in_low_bit_depths(tmp_path: Path) -> None:
    """Pillow scales four bits to 0 to 255, but not the level in the chunk tRNS."""
    rows = b"".join(b"\0" + (b"\xf0" * 4 if row > 3 else b"\0" * 4) for row in range(8))
    for level, right in ((15, False), (1, True)):
        transparent = b"tRNS", struct.pack(">H", level)
        path = tmp_path / f"{level}.png"
        write_png(path, (8, 8, 4, 0, 0), zlib.compress(rows), transparent)
        if right:
            assert read_mask(path).sum() == 16
        else:
            with pytest.raises(ImageError, match="transparent pixels"):
                read_mask(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_class_numbers_are_indices_if_index_0_is_black(tmp_path: Path, suffix: str) -> None:
    numbers = DRAWN.astype(np.uint8) + (np.arange(80) > 40) * DRAWN
    voc = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    path = indexed(tmp_path / f"m{suffix}", numbers, voc)
    np.testing.assert_array_equal(read_labels(path, 2), numbers)
    np.testing.assert_array_equal(read_annotation(path)[0], numbers)
    other = indexed(tmp_path / f"o{suffix}", numbers, [voc[2], voc[0], voc[1]])
    for read in (lambda file: read_labels(file, 2), read_annotation):
        with pytest.raises(ImageError, match=r"index 0 of its colour table is .0, 128, 0., not bl"):
            read(other)


def test_annotation_and_training_read_masks_identically(tmp_path: Path) -> None:
    Image.fromarray(DRAWN).save(tmp_path / "bit.png")
    Image.fromarray(DRAWN.astype(np.uint8) * 255).save(tmp_path / "white.png")
    indexed(tmp_path / "lesion first.png", ~DRAWN, [(255, 0, 0), (0, 0, 0)])
    tifffile.imwrite(tmp_path / "white.tif", DRAWN.astype(np.uint8) * 255)
    exif = Image.Exif()
    exif[274] = 6
    stored = np.rot90(DRAWN).astype(np.uint8)
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    tifffile.imwrite(tmp_path / "turned.tif", stored, extratags=[(274, 3, 1, 6, True)])
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_annotation(path)[0], read_mask(path), str(path))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_labels_changed_by_lossy_compression_are_refused(tmp_path: Path, suffix: str) -> None:
    numbers = DRAWN.astype(np.uint8) * 2 + (np.arange(80) > 40) * DRAWN
    Image.fromarray(np.stack([numbers] * 3, -1)).save(tmp_path / f"lossy{suffix}", quality=70)
    path = (tmp_path / f"lossy{suffix}").rename(tmp_path / "m.png")
    for read in (read_annotation, read_instances, lambda file: read_labels(file, 40)):
        with pytest.raises(ImageError, match=r"(lossy compression|the mask is coloured)"):
            read(path)


# --- files named unlike their format ----------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_a_tiff_is_read_the_same_under_any_name(tmp_path: Path, name: str) -> None:
    stains = three_channels(tmp_path, "tif", STAINS).rename(tmp_path / name)
    for opened in (read_image, lambda path: open_large(path).__enter__()):
        with pytest.raises(ImageError, match="1 DAPI, 2 GFP, 3 Cy5"):
            opened(stains)
    np.testing.assert_array_equal(read_image(stains, SECOND).pixels > 100, DRAWN)
    frames = np.stack([DRAWN * np.uint8(200)] * 2)
    tifffile.imwrite(tmp_path / "b.tif", frames, photometric="minisblack", bigtiff=True)
    with pytest.raises(ImageError, match="a stack of planes"):
        read_image((tmp_path / "b.tif").rename(tmp_path / f"b{name}"))
    tifffile.imwrite(tmp_path / "c.tif", DRAWN.astype(np.uint8) * 255, photometric="miniswhite")
    stored = read_image(tmp_path / "c.tif").pixels
    renamed = read_image((tmp_path / "c.tif").rename(tmp_path / f"c{name}")).pixels
    np.testing.assert_array_equal(renamed, stored)


@pytest.mark.parametrize("turn", [0, 9, 99])
def test_an_invalid_orientation_is_ignored(tmp_path: Path, turn: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DRAWN, extratags=[(274, 3, 1, turn, True)])
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(DRAWN.astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    for name in ("a.tif", "a.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), DRAWN)


# --- channels -------------------------------------------------------------------------------


def two_stains(path: Path, **options: Any) -> Path:
    planes = np.stack([np.full(SHAPE, 9), DRAWN * 200 + 20]).astype(np.uint8)
    planes[0, 0] = 7
    tifffile.imwrite(path, planes, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("imagej.tif", {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite"}}),
        ("a.ome.tif", {"metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "BF"]}}}),
        ("plain.tif", {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
        ("samples.tif", {"photometric": "minisblack", "planarconfig": "separate"}),
        ("tiles.tif", {"metadata": {"axes": "CYX"}, "tile": (16, 16), "compression": "zlib"}),
    ],
)
def test_a_second_channel_is_not_alpha(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = two_stains(tmp_path / name, **options)
    with pytest.raises(ImageError, match=r"2 channels.*--channel 1"):
        read_image(path)
    with pytest.raises(ImageError, match=r"2 channels.*--channel 1"), open_large(path):
        pass
    np.testing.assert_array_equal(read_image(path, SECOND).pixels > 100, DRAWN)
    with open_large(path, SECOND) as image:
        np.testing.assert_array_equal(np.asarray(image.levels[0][0:60, 0:80]) > 100, DRAWN)
    with pytest.raises(ImageError, match="channel 3 does not exist; the file has 2"):
        read_image(path, ReadingConfig(channel=3))


def compressed(path: Path, pixels: np.ndarray, code: str = "tiff_lzw", **options: Any) -> Path:
    """Write pages with a codec that tifffile cannot write; Pillow's libtiff packs their bytes."""
    pages = pixels if "axes" in options.get("metadata", {}) else pixels[None]
    packed = []
    for page in pages:
        flat = np.frombuffer(np.ascontiguousarray(page).tobytes(), np.uint8)[None]
        stream = io.BytesIO()
        Image.fromarray(flat).save(stream, "TIFF", compression=code)
        with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as tiff:
            (at,), (length,) = tiff.pages.first.dataoffsets, tiff.pages.first.databytecounts
        packed.append(stream.getvalue()[at : at + length])
    options |= {"compression": "zlib", "rowsperstrip": SHAPE[0]}
    tifffile.imwrite(path, iter(packed), shape=pixels.shape, dtype=pixels.dtype, **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for each in tiff.pages:
            each.tags["Compression"].overwrite(5 if code == "tiff_lzw" else 50000)
    return path


@pytest.mark.parametrize("code", ["tiff_lzw", "zstd"])
def test_compressed_channels_are_read_like_uncompressed_ones(tmp_path: Path, code: str) -> None:
    planes = np.stack([np.full(SHAPE, 9), DRAWN * 200 + 20]).astype(np.uint16)
    axes = {"axes": "CYX", "Channel": {"Name": ["DAPI", "BF"]}}
    path = compressed(tmp_path / "a.ome.tif", planes, code, metadata=axes)
    with pytest.raises(ImageError, match=r"2 channels.*1 DAPI, 2 BF.*--channel 1"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, SECOND).pixels, planes[1])
    with open_large(path, SECOND) as image:
        np.testing.assert_array_equal(np.asarray(image.levels[0][0:60, 0:80]), planes[1])
    samples = np.moveaxis(planes, 0, -1)
    path = compressed(tmp_path / "b.tif", samples, code, extrasamples=["unspecified"], metadata={})
    np.testing.assert_array_equal(read_image(path, SECOND).pixels, planes[1])


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i1", "i2", "u4", "f4"])
def test_compression_does_not_change_values(tmp_path: Path, dtype: str) -> None:
    pixels = (DRAWN * 100 + np.arange(SHAPE[1])).astype(dtype)
    colours = np.dstack([pixels, pixels + 5, pixels + 9]).astype(dtype)
    order = ">" if dtype[0] == ">" else "<"
    grey = compressed(tmp_path / "grey.tif", pixels, byteorder=order)
    np.testing.assert_array_equal(read_image(grey).pixels, pixels)
    rgb = compressed(tmp_path / "rgb.tif", colours, photometric="rgb", byteorder=order)
    np.testing.assert_array_equal(read_image(rgb).pixels, colours)
    three = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}, "byteorder": order}
    stack = compressed(tmp_path / "s.tif", np.stack([pixels] * 3).astype(dtype), **three)
    with TiffStack(stack) as planes:
        np.testing.assert_array_equal(planes.read(1).pixels, pixels)


def test_compressed_labels_open_as_annotation(tmp_path: Path) -> None:
    labels = DRAWN * np.uint16(700)
    np.testing.assert_array_equal(
        read_annotation(compressed(tmp_path / "l.tif", labels))[0], labels
    )
    Image.fromarray(DRAWN).save(tmp_path / "bit.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_annotation(tmp_path / "bit.tif")[0], DRAWN)


@pytest.mark.skipif(
    find_spec("imagecodecs") is not None, reason="tifffile decodes JPEG with imagecodecs"
)
def test_channels_that_only_pillow_decodes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "jpeg.tif"
    xml = tifffile.OmeXml()
    xml.addimage("uint8", (2, *SHAPE), (2, 1, 1, *SHAPE, 1), axes="CYX")
    first, second = (Image.fromarray(DRAWN * np.uint8(level)) for level in (90, 200))
    tags = {270: xml.tostring()}
    first.save(path, save_all=True, append_images=[second], compression="jpeg", tiffinfo=tags)
    with pytest.raises(ImageError, match=r"JPEG compression of channels.*pip install imagecodecs"):
        read_image(path, SECOND)


def test_fax_of_several_channels_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    xml = tifffile.OmeXml()
    xml.addimage("bool", (2, *SHAPE), (2, 1, 1, *SHAPE, 1), axes="CYX")
    page = Image.fromarray(DRAWN)
    tags = {270: xml.tostring()}
    page.save(path, save_all=True, append_images=[page], compression="group4", tiffinfo=tags)
    with pytest.raises(ImageError, match=r"is not supported\. Save it without compression"):
        read_image(path, SECOND)


def test_white_is_zero_masks_are_read_only_from_known_programs(
    tmp_path: Path,
) -> None:
    white, other, fax = tmp_path / "tifffile.tif", tmp_path / "other.tif", tmp_path / "fax.tif"
    tifffile.imwrite(white, DRAWN)
    np.testing.assert_array_equal(read_mask(white), DRAWN)
    for code in ("raw", "packbits", "tiff_lzw"):
        Image.fromarray(DRAWN).save(other, compression=code, tiffinfo={262: 0})
        for read in (read_mask, read_annotation, read_instances):
            with pytest.raises(ImageError, match=r"0 is shown as white.*so that 0 is black"):
                read(other)
    Image.fromarray(DRAWN).save(fax, compression="group4", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_mask(fax), DRAWN)


def test_objects_with_equal_grey_levels_in_the_table_are_not_merged(tmp_path: Path) -> None:
    numbers = DRAWN * 1
    numbers[:3] = 2
    path = indexed(tmp_path / "m.png", numbers, [(0,) * 3, (255,) * 3, (255,) * 3])
    with pytest.raises(ImageError, match=r"objects would merge.*Save the mask as grey"):
        read_instances(path)
    np.testing.assert_array_equal(read_mask(path), numbers > 0)


STAINS, COLOURS = ["DAPI", "GFP", "Cy5"], ["Red", "Green", "Blue"]


def three_channels(folder: Path, kind: str, names: list[str], shades: Any = None) -> Path:
    """Write three channels of which the second shows the disc."""
    planes = np.stack([np.full(SHAPE, 9), DRAWN * 200 + 20, np.full(SHAPE, 30)]).astype(np.uint8)
    if kind == "zarr":
        path = folder / "c.zarr"
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.create_array("0", data=planes, chunks=planes.shape)
        axes = [{"name": name} for name in "cyx"]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        rgb = [f"{0 if s is None else s:06x}" for s in shades or [None] * 3]
        group.attrs["omero"] = {
            "channels": [{"label": n, "color": c} for n, c in zip(names, rgb, strict=True)]
        }
        return path
    path = folder / f"c.{kind}"
    if kind == "ome.tif":
        channel: dict[str, Any] = {"Name": names}
        if shades:  # red, green, blue and alpha in a signed number of 32 bits
            packed = [(shade << 8) | 255 for shade in shades]
            channel["Color"] = [each - 2**32 if each >= 2**31 else each for each in packed]
        tifffile.imwrite(path, planes, metadata={"axes": "CYX", "Channel": channel})
        return path
    tables = [
        np.stack([np.arange(256) * (shade >> place & 255) // 255 for place in (16, 8, 0)])
        for shade in shades or []
    ]
    facts = {"axes": "CYX", "mode": "composite", "Labels": names}
    luts = {"LUTs": [table.astype(np.uint8) for table in tables]} if tables else {}
    tifffile.imwrite(path, planes, imagej=True, metadata={**facts, **luts})
    return path


def pixels_of(path: Path, limits: ReadingConfig = ReadingConfig()) -> Any:  # noqa: B008
    if path.suffix != ".zarr":
        return read_image(path, limits).pixels
    with open_large(path, limits) as image:
        return np.asarray(image.levels[0][0:60, 0:80])


@pytest.mark.parametrize("kind", ["ome.tif", "tif", "zarr"])
def test_stains_are_not_colours(tmp_path: Path, kind: str) -> None:
    path = three_channels(tmp_path, kind, STAINS)
    reason = r"3 channels.*\(1 DAPI, 2 GFP, 3 Cy5\).*--channel 1"
    with pytest.raises(ImageError, match=reason):
        pixels_of(path)
    with pytest.raises(ImageError, match=reason), open_large(path):
        pass
    np.testing.assert_array_equal(pixels_of(path, SECOND) > 100, DRAWN)


@pytest.mark.parametrize("kind", ["ome.tif", "tif", "zarr"])
@pytest.mark.parametrize(
    ("names", "shades", "colours"),
    [
        (COLOURS, None, True),
        (["", "", ""], None, True),
        (["Channel 1", "Channel 2", "Channel 3"], [0xFF0000, 0x00FF00, 0x0000FF], True),
        (["", "", ""], [0xFFFFFF] * 3, True),
        (["", "", ""], [0x0000FF, 0x00FF00, 0xFF0000], False),
        (["", "", ""], [0xFF0000, 0x00FF00, 0xFF00FF], False),
        (COLOURS[::-1], None, False),
        (["", "", "phase"], None, False),
    ],
)
def test_names_and_colours_of_channels_decide(
    tmp_path: Path, kind: str, names: list[str], shades: Any, colours: bool
) -> None:
    path = three_channels(tmp_path, kind, names, shades)
    if colours:
        assert pixels_of(path).shape == (*SHAPE, 3)
    else:
        with pytest.raises(ImageError, match="3 channels that the file does not mark as colours"):
            pixels_of(path)


def test_stains_of_a_stack_are_not_colours(tmp_path: Path) -> None:
    frames = np.zeros((2, 3, *SHAPE), np.uint8)
    frames[:, 1] = DRAWN * 200
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, frames, metadata={"axes": "TCYX", "Channel": {"Name": STAINS}})
    with pytest.raises(ImageError, match="1 DAPI, 2 GFP, 3 Cy5"):
        TiffStack(path)
    with TiffStack(path, limits=SECOND) as stack:
        np.testing.assert_array_equal(stack.read(1).pixels > 100, DRAWN)


def test_channels_of_a_stack_are_chosen_consistently(tmp_path: Path) -> None:
    frame = np.stack([np.full(SHAPE, 9), DRAWN * 200 + 20]).astype(np.uint8)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.stack([frame] * 3), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(ImageError, match=r"2 channels.*--channel 1"):
        TiffStack(path)
    with TiffStack(path, limits=SECOND) as stack:
        assert (stack.axes, len(stack)) == ("TYX", 3)
        np.testing.assert_array_equal(stack.read(2).pixels > 100, DRAWN)


def test_a_fourth_channel_is_dropped_only_if_it_is_alpha(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SHAPE, 4), dtype=np.uint8)
    alpha, other = tmp_path / "alpha.tif", tmp_path / "infrared.tif"
    tifffile.imwrite(alpha, rgb, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(other, rgb, photometric="rgb", extrasamples=["unspecified"])
    assert read_image(alpha).pixels.shape == (*SHAPE, 4)
    assert not caplog.records
    np.testing.assert_array_equal(read_image(other).pixels, rgb[..., :3])
    assert "infrared.tif: ignored after red, green and blue: 1 channel not" in caplog.text
    with open_large(other) as image:
        np.testing.assert_array_equal(np.asarray(image.levels[0][5:9, 3:8]), rgb[5:9, 3:8, :3])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_frames_are_not_colours(tmp_path: Path, count: int) -> None:
    frames = np.stack([DRAWN * np.uint8(200 + n) for n in range(count)])
    for name, options in {
        "pages.tif": {"photometric": "minisblack"},
        "time.tif": {"imagej": True, "metadata": {"axes": "TYX"}},
        "depth.ome.tif": {"metadata": {"axes": "ZYX"}},
    }.items():
        tifffile.imwrite(tmp_path / name, frames, **options)
        with pytest.raises(ImageError, match="a stack of planes"):
            read_image(tmp_path / name)
    for axes in (None, ["t", "y", "x"], ["z", "y", "x"]):
        store = zarr.create_array(
            str(tmp_path / f"{axes}.zarr"), data=frames, dimension_names=axes
        ).store_path
        with (
            pytest.raises(ImageError, match="not a 2D image"),
            open_large(Path(str(store.store.root))),
        ):
            pass


def _pages(path: Path, *options: dict[str, Any]) -> None:
    """Write pages of the levels 10, 20, ... that rise along the rows."""
    rows = np.arange(6)[:, np.newaxis] + np.zeros(8)
    with tifffile.TiffWriter(path) as tiff:
        for number, own in enumerate(options, 1):
            dtype = own.pop("dtype", np.uint8)
            tiff.write((10 * number + rows).astype(dtype), photometric="minisblack", **own)


@pytest.mark.parametrize("more", [{}, {"metadata": None}])
@pytest.mark.parametrize("other", [{"compression": "zlib"}, {"dtype": np.uint16}, {}])
def test_no_page_of_a_stack_is_left_out_or_moved(
    tmp_path: Path, other: dict[str, Any], more: dict[str, Any]
) -> None:
    """Pages of another compression or data type, which tifffile lists on their own."""
    _pages(tmp_path / "a.tif", *({**own, **more} for own in ({}, other, {}, other, {})))
    with TiffStack(tmp_path / "a.tif") as stack:
        assert stack.shape == (5, 6, 8)
        stack.check()
        levels = [int(stack.read(number).pixels.min()) for number in range(len(stack))]
    assert levels == [10, 20, 30, 40, 50]
    with TiffStack(tmp_path / "a.tif", "ZX") as stack:
        assert [int(stack.read(row).pixels[:, 0].max()) for row in range(6)] == list(range(50, 56))
        np.testing.assert_array_equal(stack.read(2).pixels[:, 0], [12, 22, 32, 42, 52])
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=r"a stack of planes \(shape 5 x 6 x 8"):
            read(tmp_path / "a.tif")
    with (
        pytest.raises(ImageError, match=r"a stack of planes \(shape 5 x 6 x 8"),
        open_large(tmp_path / "a.tif"),
    ):
        pass


def test_pages_that_do_not_belong_to_a_stack_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _pages(tmp_path / "a.tif", {"metadata": None}, {"metadata": None})
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), append=True, metadata=None)
    with TiffStack(tmp_path / "a.tif") as stack:
        assert stack.shape == (2, 6, 8)
    assert "a.tif: 1 further image is not part of the stack" in caplog.text


def test_further_images_of_a_zarr_group_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=np.arange(48, dtype=np.uint8).reshape(6, 8))
    scale = {"axes": ["y", "x"], "datasets": [{"path": "0"}]}
    group.attrs["multiscales"] = [scale, scale]
    with open_large(tmp_path / "a.zarr") as image:
        assert image.shape == (6, 8)
    assert "a.zarr: 2 images in one Zarr group; reading the first" in caplog.text


def test_zarr_axes_determine_the_channels(tmp_path: Path) -> None:
    planes = np.stack([DRAWN * np.uint8(n) for n in (50, 100, 200)])
    zarr.create_array(str(tmp_path / "c.zarr"), data=planes, dimension_names=["c", "y", "x"])
    zarr.create_array(str(tmp_path / "rgb.zarr"), data=np.moveaxis(planes, 0, -1).copy())
    for name in ("c.zarr", "rgb.zarr"):
        with open_large(tmp_path / name) as image:
            part = np.asarray(image.levels[0][10:30, 20:50])
        np.testing.assert_array_equal(part, np.moveaxis(planes, 0, -1)[10:30, 20:50])
    zarr.create_array(str(tmp_path / "two.zarr"), data=planes[:2], dimension_names=["c", "y", "x"])
    with pytest.raises(ImageError, match="2 channels"), open_large(tmp_path / "two.zarr"):
        pass


# --- pixel sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize("density", [72, 96])
@pytest.mark.parametrize(
    "options",
    [
        lambda d: {"resolution": (d, d), "resolutionunit": "inch"},
        lambda d: {"resolution": (d / 2.54, d / 2.54), "resolutionunit": "centimeter"},
        lambda d: {"resolution": (round(d / 2.54, 1),) * 2, "resolutionunit": "centimeter"},
        lambda d: {"imagej": True, "resolution": (d, d), "metadata": {"unit": "inch"}},
        lambda d: {"imagej": True, "resolution": (d / 2.54,) * 2, "metadata": {"unit": "cm"}},
        lambda d: {"imagej": True, "resolution": (d / 25.4,) * 2, "metadata": {"unit": "mm"}},
        lambda d: {
            "ome": True,
            "metadata": {"axes": "YX", "PhysicalSizeX": 25400 / d, "PhysicalSizeY": 25400 / d},
        },
    ],
)
def test_a_screen_density_is_not_a_pixel_size_in_any_unit(
    tmp_path: Path, density: int, options: Any
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DRAWN.astype(np.uint8), **options(density))
    assert read_image(path).spacing is None


@pytest.mark.parametrize("per_cm", [20.0, 30.0, 100.0])
def test_other_densities_are_pixel_sizes(tmp_path: Path, per_cm: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DRAWN.astype(np.uint8), resolution=(per_cm, per_cm), resolutionunit=3)
    assert read_image(path).spacing == pytest.approx((1e4 / per_cm,) * 2)


EXIF_POINTER, MAKE, F_NUMBER = 34665, 271, 33437


def photograph(path: Path, per_inch: float, unit: int = 2, **tags: Any) -> Path:
    """Write a colour TIFF as cameras and image editors do."""
    image = Image.fromarray(np.stack([DRAWN * np.uint8(200)] * 3, axis=-1))
    info = Image.Exif()
    density = per_inch if unit == 2 else per_inch / 2.54
    info.update({282: density, 283: density, 296: unit})
    if "make" in tags:
        info[MAKE] = tags["make"]
    if "f_number" in tags:
        info.get_ifd(EXIF_POINTER)[F_NUMBER] = tags["f_number"]
        info[EXIF_POINTER] = 0  # else Pillow leaves it out
    image.save(path, exif=info)
    return path


@pytest.mark.parametrize("density", [150, 180, 240, 300, 350, 400, 600, 720, 1200, 2400])
@pytest.mark.parametrize("unit", [2, 3])
def test_a_print_size_is_not_a_pixel_size(tmp_path: Path, density: int, unit: int) -> None:
    path = photograph(tmp_path / "a.tif", density, unit)
    assert read_image(path).spacing is None
    with open_large(path) as large:
        assert large.spacing is None
    grey = DRAWN.astype(np.uint8)
    plain = density if unit == 2 else round(density / 2.54)
    scan = {"resolution": (plain, plain), "resolutionunit": unit}
    copied = {"imagej": True, "metadata": {"unit": "inch" if unit == 2 else "cm"}}
    for options in (scan, scan | copied):
        tifffile.imwrite(tmp_path / "b.tif", grey, **options)
        assert read_image(tmp_path / "b.tif").spacing is None


@pytest.mark.parametrize("density", [300, 317, 600])
def test_a_camera_and_a_scanner_have_no_pixel_size(tmp_path: Path, density: int) -> None:
    for make, more in (("Canon", {"f_number": 5.6}), ("Canon", {}), ("EPSON", {})):
        path = photograph(tmp_path / "a.tif", density, make=make, **more)
        assert read_image(path).spacing is None
    by_lens = photograph(tmp_path / "b.tif", 2540, 3, make="Canon", f_number=5.6)
    assert read_image(by_lens).spacing is None


@pytest.mark.parametrize(
    ("options", "spacing"),
    [
        ({"imagej": True, "resolution": (11.811, 11.811), "metadata": {"unit": "mm"}}, 0.08467),
        ({"imagej": True, "resolution": (4000, 4000), "metadata": {"unit": "cm"}}, 1 / 4000),
        ({"imagej": True, "resolution": (50, 50), "metadata": {"unit": "cm"}}, 0.02),
        (
            {"resolution": (300, 300), "description": "Aperio x", "metadata": None},
            84.667,
        ),
        ({"resolution": (40000, 40000), "resolutionunit": 3}, 0.25),
    ],
)
def test_microscope_files_have_a_pixel_size(tmp_path: Path, options: Any, spacing: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([DRAWN * np.uint8(9)] * 3, -1), **options)
    assert read_image(tmp_path / "a.tif").spacing == pytest.approx((spacing,) * 2, rel=1e-3)


# --- files of other formats ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "advice"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s123--abc.png\n", "git annex get"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC or AVIF: save it as JPEG or PNG"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM: save its image as TIFF or PNG"),
        (b"\n<!DOCTYPE html><html>Log in</html>", "web page"),
        (b"PK\x03\x04" + bytes(40), "archive: unpack it"),
        (bytes(300), "Replace or remove the file"),
    ],
)
def test_a_file_of_another_format_named_like_an_image_is_recognised(
    tmp_path: Path, head: bytes, advice: str
) -> None:
    (tmp_path / "a.png").write_bytes(head)
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=advice):
            read(tmp_path / "a.png")


# --- several images, invisible values, signs -------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_one_of_several_images_in_a_file_is_not_read_as_the_mask(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"m{suffix}"
    drawn = np.asarray(DRAWN, np.uint8) * 255
    if suffix == ".tif":
        tifffile.imwrite(path, drawn)
        tifffile.imwrite(path, drawn[:30], append=True)
    else:
        other = Image.fromarray(drawn[::-1]).convert("RGB")
        Image.fromarray(drawn).convert("RGB").save(
            path,
            save_all=True,
            append_images=[other],
            **({"lossless": True} if "w" in suffix else {}),
        )
    for read in (read_mask, lambda file: read_labels(file, 2)):
        with pytest.raises(ImageError, match="2 images in one file"):
            read(path)


def test_a_leading_thumbnail_is_not_read_as_the_image(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(DRAWN[::4, ::4] * np.uint8(255), subfiletype=1, resolution=(100, 100))
        writer.write(DRAWN * np.uint8(255), resolution=(50, 50), resolutionunit="CENTIMETER")
    image = read_image(path)
    assert image.pixels.shape == SHAPE
    assert image.spacing == (200, 200)
    np.testing.assert_array_equal(read_mask(path), DRAWN)
    np.testing.assert_array_equal(read_annotation(path)[0], DRAWN)
    with open_large(path) as large:
        assert large.levels[0].shape == SHAPE


def test_one_of_several_pages_is_not_a_thumbnail(tmp_path: Path) -> None:
    """ImageMagick marks every page of a file in this way."""
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(DRAWN * np.uint8(255), subfiletype=2)
        writer.write(DRAWN[:40] * np.uint8(255), subfiletype=2)
    for read in (read_mask, read_annotation):
        with pytest.raises(ImageError, match="2 images"):
            read(path)


def test_the_thumbnail_of_a_mask_is_not_a_second_mask(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.asarray(DRAWN, np.uint8) * 255)
        tiff.write(np.asarray(DRAWN, np.uint8)[::2, ::2] * 255, subfiletype=1)
    np.testing.assert_array_equal(read_mask(path), DRAWN)


def test_the_mask_that_gdal_adds_to_a_tiff_is_not_a_second_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is marked as a transparency mask and has the size of the image."""
    grey, valid = np.arange(48, dtype=np.uint8).reshape(6, 8), np.ones((6, 8), bool)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(grey, photometric="minisblack")
        tiff.write(valid, subfiletype=4, photometric="mask")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, grey)
    assert "a.tif: its transparency mask, which is another page, is not used" in caplog.text
    with pytest.raises(ImageError, match="one plane"):
        TiffStack(tmp_path / "a.tif")


def test_a_gif_that_leaves_part_of_its_area_open_is_refused(tmp_path: Path) -> None:
    """Viewers show the rest as background; it would be read as the first colour, here white."""
    image = Image.fromarray(np.array([[1, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    assert read_mask(tmp_path / "a.gif").sum() == 1
    content[6:10] = struct.pack("<HH", 5, 4)
    (tmp_path / "a.gif").write_bytes(content)
    with pytest.raises(ImageError, match="covers only a part of the area of this GIF"):
        read_mask(tmp_path / "a.gif")


def test_a_tiff_colour_table_with_8_bit_entries_is_read(tmp_path: Path) -> None:
    table = np.zeros((3, 256), np.uint16)
    table[0, 1] = 255  # red, as programs write it that overlook the 16 bits
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.asarray(DRAWN, np.uint8), photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_mask(path), DRAWN)


@pytest.mark.parametrize("table", [[(0, 0, 0)] * 2, [(0, 0, 0), (0, 0, 0), (255, 0, 0)]])
def test_values_that_a_colour_table_hides_are_not_dropped(
    tmp_path: Path, table: list[tuple[int, int, int]]
) -> None:
    indices = np.asarray(DRAWN, np.uint8)
    indices[:2] = len(table) - 1
    path = indexed(tmp_path / "m.png", indices, table)
    with pytest.raises(ImageError, match="black in its colour table"):
        read_mask(path)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32])
def test_a_negative_background_is_not_foreground(
    tmp_path: Path, dtype: type[np.number[Any]]
) -> None:
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.where(DRAWN, 0, -1).astype(dtype))
    with pytest.raises(ImageError, match="negative values"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, -0.5), DRAWN)


@pytest.mark.parametrize("height", [30, SHAPE[0]])
def test_an_annotation_of_separate_images_is_not_reduced_to_the_first(
    tmp_path: Path, height: int
) -> None:
    path = tmp_path / "m.tif"
    labels = np.asarray(DRAWN, np.uint8)
    tifffile.imwrite(path, labels, metadata={"shape": SHAPE})
    tifffile.imwrite(path, labels[:height], append=True, compression="zlib")
    with pytest.raises(ImageError, match="2 images that the file does not mark"):
        read_annotation(path)


@pytest.mark.parametrize("name", ["m.tif", "TIFF called.png"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_an_annotation_with_negative_labels_is_refused(
    tmp_path: Path, dtype: type[np.number[Any]], name: str
) -> None:
    path = tmp_path / name
    tifffile.imwrite(path, np.where(DRAWN, 0, -1).astype(dtype))
    with pytest.raises(ImageError, match=rf"{name}.*from -1 to 0"):
        read_annotation(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 0.5])
def test_non_integer_nifti_labels_are_refused(tmp_path: Path, value: float) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.where(DRAWN, value, 0).astype(np.float32)
    (tmp_path / "a.nii").write_bytes(nibabel.Nifti1Image(values, np.eye(4)).to_bytes())
    with warnings.catch_warnings(action="error"), pytest.raises(ImageError, match="not integers"):
        read_annotation(tmp_path / "a.nii")


@pytest.mark.parametrize("code", ["jpeg", "group4", "tiff_lzw"])
def test_the_orientation_of_a_compressed_tiff_is_known(tmp_path: Path, code: str) -> None:
    path, stored = tmp_path / "a.tif", np.rot90(DRAWN).copy()
    picture = stored if code == "group4" else stored * np.uint8(255)
    Image.fromarray(picture).save(path, compression=code, tiffinfo={274: 6})
    decoded = decode(path)
    assert decoded.orientation == 6
    assert np.mean((decoded.pixels > 127 * (code != "group4")) == DRAWN) > 0.99


def test_a_threshold_among_the_noise_of_a_jpeg_mask_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jpg"
    Image.fromarray(np.asarray(DRAWN, np.uint8) * 255).save(path, quality=50)
    for threshold in (0.5, 254.5):
        with pytest.raises(ImageError, match=r"--mask-threshold 12\d"):
            read_mask(path, threshold)
    np.testing.assert_array_equal(read_mask(path, 127.5), DRAWN)
