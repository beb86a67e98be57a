"""Untrusted TIFF stacks are refused by their headers, and limited plane by plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.predict import main as predict
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.tiff_stack import TiffStack
from tests.core.images.test_untrusted_images import OME, SMALL
from tests.helpers.commands import Printed
from tests.helpers.fixtures import little_memory


def stack_of(path: Path, *shape: int, **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    return path


def test_a_stack_may_exceed_the_limit_of_its_planes(tmp_path: Path) -> None:
    """Planes are read one by one; along another axis the whole stack is loaded, and must fit."""
    path = stack_of(tmp_path / "scan.tif", 5, 64, 64, metadata={"axes": "ZYX"})
    limits = ReadingConfig(max_megabytes=0.01)
    with TiffStack(path, limits=limits) as stack:
        assert stack.read(4).pixels.shape == (64, 64)
    with TiffStack(path, "ZX", limits) as stack, pytest.raises(ImageError, match="megabytes"):
        stack.read(0)
    with pytest.raises(ImageError, match="megapixels"):
        TiffStack(path, limits=ReadingConfig(max_megapixels=0.001))


def _read_first(path: Path, limits: ReadingConfig = READING) -> None:
    with TiffStack(path, limits=limits) as stack:
        stack.read(0)


@pytest.mark.parametrize(
    "tags", [{"ImageWidth": 60_000, "ImageLength": 60_000}, {"TileWidth": 65_536}]
)
def test_a_stack_is_refused_by_its_headers(tmp_path: Path, tags: dict[str, int]) -> None:
    tiled = {"tile": (32, 32)} if "TileWidth" in tags else {}
    path = stack_of(tmp_path / "a.tif", 2, 64, 64, compression="zlib", metadata=None, **tiled)
    tags = {"TileLength": 65_536, **tags} if tiled else tags
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            for name, value in tags.items():
                page.tags[name].overwrite(value, dtype="I")
    with little_memory(), pytest.raises(ImageError, match="raise the limit"):
        _read_first(path)


def test_a_plane_that_decompresses_endlessly_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    planes = np.zeros((2, 12_800, 16_384), np.uint8)
    zlib_fast = {"compression": "zlib", "compressionargs": {"level": 1}}
    tifffile.imwrite(path, planes, rowsperstrip=12_800, metadata=None, **zlib_fast)
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                page.tags[tag].overwrite(64, dtype="I")
    with little_memory(), pytest.raises(ImageError, match="decompresses"):
        _read_first(path, SMALL)


@pytest.mark.parametrize("how", ["NaN", "NaN, ImageJ", "NaN, other axes", "cut short"])
def test_the_check_finds_damage_on_a_late_plane(tmp_path: Path, how: str) -> None:
    """Before any plane is segmented."""
    path = tmp_path / "a.tif"
    planes = np.random.default_rng(0).random((6, 40, 50)).astype(np.float32)
    if "NaN" in how:
        planes[4, 3, 2] = np.nan
    # ImageJ stores all planes after the first page.
    options = {"metadata": {"axes": "ZYX"}, "compression": None if "ImageJ" in how else "zlib"}
    tifffile.imwrite(path, planes, imagej="ImageJ" in how, **options)
    if how == "cut short":
        path.write_bytes(path.read_bytes()[: -planes[0].nbytes // 2])
    plane = "ZX" if "axes" in how else "YX"
    with (
        pytest.raises(ImageError, match=r"a\.tif: .*(NaN.* page 4|page 5|damaged)"),
        TiffStack(path, plane) as stack,
    ):
        stack.check()


def test_metadata_of_a_stack_opens_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret" / "patient.tif"
    secret.parent.mkdir()
    tifffile.imwrite(secret, np.full((8, 8), 77, np.uint8))
    path = tmp_path / "a.ome.tif"
    own = np.arange(64, dtype=np.uint8).reshape(8, 8) % 5
    tifffile.imwrite(path, own, description=OME.format(name=str(secret)), metadata=None)
    with TiffStack(path) as stack:
        np.testing.assert_array_equal(stack.read(0).pixels, own)
        with pytest.raises(ImageError, match="plane 1"):
            stack.read(1)


def test_the_command_raises_the_limit_for_stacks(
    tmp_path: Path, tiny_model_folder: Path, refused: Printed
) -> None:
    path = stack_of(tmp_path / "scan.tif", 2, 64, 64, metadata={"axes": "ZYX"})
    words = [str(path), "--stack", "--out", str(tmp_path / "out")]
    words += ["--model", str(tiny_model_folder), "--samples", "1", "--steps", "1"]
    words += ["--device", "cpu", "--quiet"]
    for more in ([], ["--skip-bad"]):
        assert "--max-megapixels" in refused(predict, [*words, *more, "--max-megapixels", "0.001"])
    assert predict([*words, "--max-megapixels", "0.01"]) == 0
