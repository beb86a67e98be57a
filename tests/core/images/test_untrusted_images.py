"""Untrusted images and annotations are refused by the sizes in their headers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import (
    ImageError,
)
from latentfm_core.files.untrusted import BoundedReader
from latentfm_core.images.read import read_image, read_mask
from tests.helpers.commands import Printed
from tests.helpers.fixtures import little_memory
from tests.helpers.pictures import write_png

MEGA = 2**20
SMALL = ReadingConfig(max_megapixels=1, max_megabytes=8)


# --- Images: pixels and bytes ----------------------------------------------------------------


def png(path: Path, width: int, height: int) -> Path:
    """Write a PNG that decompresses to `height` black rows."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width + 1)) for _ in range(min(height, 64)))
    return write_png(path, (width, height, 8, 0, 0), data + rows.flush())


def jpeg(path: Path) -> Path:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 60000, 60000)
    path.write_bytes(content)
    return path


def tiff(path: Path, **tags: int) -> Path:
    """Write a small TIFF, then change numbers in its tags."""
    pixels = np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)
    tiled = {"tile": (32, 32)} if "TileWidth" in tags else {"rowsperstrip": 64}
    tifffile.imwrite(path, pixels, compression="zlib", metadata=None, **tiled)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in tags.items():
            file.pages.first.tags[name].overwrite(value, dtype="I")
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "rows.png": lambda path: png(path, 40_000, 40_000),
    "plane.jpg": jpeg,
    "plane.tif": lambda path: tiff(path, ImageWidth=60_000, ImageLength=60_000),
    "tile.tif": lambda path: tiff(path, TileWidth=65_536, TileLength=65_536),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, name: str) -> None:
    path = BOMBS[name](tmp_path / name)
    assert path.stat().st_size < 10 * MEGA
    for read in (read_image, read_mask):
        with little_memory(), pytest.raises(ImageError, match=rf"{name}.*raise the limit"):
            read(path)
    if name.endswith((".png", "tile.tif")):
        with little_memory(), pytest.raises(ImageError, match="raise the limit"):
            read_annotation(path)


def test_a_tile_size_that_is_text_is_refused(tmp_path: Path) -> None:
    """In Python, a text times a number is a repeated text, here of gigabytes."""
    path = tmp_path / "text.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(32, 32), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages.first
        page.tags["TileLength"].overwrite("9999", dtype="s")
        page.tags["TileWidth"].overwrite(2**31 - 1, dtype="I")
    with little_memory(), pytest.raises(ImageError, match=r"text\.tif.*Choose another file"):
        read_image(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_decompresses_endlessly_is_refused(tmp_path: Path, compression: str) -> None:
    """The header declares 64 x 64 pixels, and the strip decompresses to 200 megabytes."""
    path = tmp_path / "strip.tif"
    tifffile.imwrite(
        path,
        np.zeros((12_800, 16_384), np.uint8),
        compression=compression,
        compressionargs={"level": 1},
        rowsperstrip=12_800,
        metadata=None,
    )
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[tag].overwrite(64, dtype="I")
    with little_memory(), pytest.raises(ImageError, match="decompresses"):
        read_image(path, SMALL)
    with little_memory(), pytest.raises(ImageError, match="decompresses"):
        read_annotation(path, SMALL)


@pytest.mark.parametrize("how", ["circle", "tags", "pages"])
def test_a_tiff_with_endless_pages_is_refused(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentfm_core.images.tiff.MAX_TAGS", 4000)  # even so, it takes seconds
    path = tmp_path / "pages.tif"
    tag = struct.pack("<HHII", 256, 4, 1, 4)
    if how == "circle":
        content = struct.pack("<H", 1) + tag + struct.pack("<I", 8)
    else:
        count, pages = (2001, 2) if how == "tags" else (0, 4001)
        body = struct.pack("<H", count) + tag * count
        content = b"".join(
            body + end.to_bytes(4, "little")
            for end in range(12 + len(body), 12 + pages * (len(body) + 4), len(body) + 4)
        )
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + content)
    for read in (read_image, read_annotation):
        with pytest.raises(ImageError, match="form a cycle"):
            read(path)


def test_a_mask_without_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    with pytest.warns(UserWarning, match="zero-size"):
        tifffile.imwrite(path, np.zeros((0, 4), np.uint8))
    with pytest.raises(ImageError, match="mask"):
        read_mask(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_limit_can_be_raised(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1000), np.uint8)
    path = tmp_path / f"large{suffix}"
    Image.fromarray(pixels).save(path)
    with pytest.raises(ImageError, match="1 megapixels, the limit is 1"):
        read_image(path, SMALL)
    with pytest.raises(ImageError, match="megabytes"):
        read_image(path, ReadingConfig(max_megabytes=1))
    assert read_image(path, ReadingConfig(max_megapixels=2)).pixels.shape == (1100, 1000)


def test_images_above_the_pillow_limit_are_read_if_allowed(tmp_path: Path) -> None:
    """Pillow's own limit for the whole process must not apply."""
    usual = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "a.png"
    Image.fromarray(np.eye(300, dtype=np.uint8)).save(path)
    Image.MAX_IMAGE_PIXELS = 100
    try:
        assert read_image(path).pixels.shape == (300, 300)
        assert Image.MAX_IMAGE_PIXELS == 100
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def test_the_command_raises_the_limit(
    tmp_path: Path, tiny_model_folder: Path, refused: Printed
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    words = [str(path), "--out", str(tmp_path / "out"), "--model", str(tiny_model_folder)]
    words += ["--samples", "1", "--steps", "1", "--device", "cpu", "--quiet"]
    assert "--max-megapixels" in refused(predict, [*words, "--max-megapixels", "0.001"])
    assert predict([*words, "--max-megapixels", "0.01"]) == 0


def test_no_image_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would run Ghostscript for a PostScript file of any name."""
    path = tmp_path / "a.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    gs = tmp_path / "gs"
    gs.write_text(f"#!/bin/sh\n: > {tmp_path}/ran\n")
    gs.chmod(0o755)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(path)
    assert not (tmp_path / "ran").exists()


OME = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"
UUID="urn:uuid:1"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8"
SizeX="8" SizeY="8" SizeC="1" SizeZ="1" SizeT="2"><TiffData IFD="0" FirstT="0">
<UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData><TiffData IFD="0" FirstT="1">
<UUID FileName="{name}">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>"""


@pytest.mark.parametrize("place", ["relative", "absolute"])
def test_ome_metadata_opens_no_other_file(tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret" / "patient.tif"
    secret.parent.mkdir()
    tifffile.imwrite(secret, np.full((8, 8), 77, np.uint8))
    path = tmp_path / "stranger" / "a.ome.tif"
    path.parent.mkdir()
    name = str(secret) if place == "absolute" else "../secret/patient.tif"
    own = np.arange(64, dtype=np.uint8).reshape(8, 8) % 5
    tifffile.imwrite(path, own, description=OME.format(name=name), metadata=None)
    assert (tifffile.imread(path) == 77).any(), "tifffile itself reads it"
    labels = read_annotation(path)[0]
    np.testing.assert_array_equal(labels.reshape(-1, 8, 8)[0], own)
    assert not (labels == 77).any()


def test_nifti_with_a_huge_data_offset_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii.gz"
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4)).to_bytes())
    struct.pack_into("<f", content, 108, 2.0**31)
    path.write_bytes(__import__("gzip").compress(bytes(content) + bytes(4096)))
    with little_memory(), pytest.raises(ImageError, match="first voxel"):
        read_annotation(path)


def test_sizes_beyond_the_file_allocate_nothing(tmp_path: Path) -> None:
    """A decoder would allocate whatever a damaged header declares."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    with BoundedReader(path) as stream:
        assert (stream.read(3), stream.read(2**60), stream.read(2**60)) == (b"con", b"tent", b"")


# --- Autosaves -------------------------------------------------------------------------------


def test_a_growing_autosave_is_skipped(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    signature = "0" * 32
    facts = AnnotationSidecar(image="a.png", shape=(4, 4), axes="YX")
    store.save(signature, np.ones((4, 4), np.uint8), facts)
    huge = facts.model_copy(update={"shape": (4096, 16_384)})
    store.save(signature, np.zeros((4096, 16_384), np.uint8), huge)
    with little_memory():
        found = store.newest(signature, SMALL)
    assert found is not None
    assert found.info.shape == (4, 4)
