"""Files from strangers: refused by what they say of themselves, before they can do harm."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import ReadingConfig, load_config
from latentfm_core.data.images import list_images, read_image, read_mask
from latentfm_core.data.pairs import find_pairs
from latentfm_core.data.splits import read_groups, read_split
from latentfm_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    ImageError,
    ModelFolderError,
    OutputError,
)
from latentfm_core.output.result import read_sidecar
from latentfm_core.store.bounded import BoundedReader
from latentfm_core.store.folder import file_sha256, load_model
from latentfm_core.training.checkpoint import FILE, read_checkpoint
from latentfm_core.worklist.state import FOLDER_NAME, WorkList
from napari_latentfm import preferences
from tests.fixtures import copy_model, tiny_config

MEGA = 2**20
SMALL = ReadingConfig(max_megapixels=1, max_megabytes=8)
links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


@contextmanager
def little_memory(most: int = 32 * MEGA) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# --- Images: pixels and bytes ----------------------------------------------------------------


def png(path: Path, width: int, height: int) -> Path:
    """Write a PNG that inflates to `height` black rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width + 1)) for _ in range(min(height, 64)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", data + rows.flush())
        + chunk(b"IEND", b"")
    )
    return path


def jpeg(path: Path) -> Path:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 60000, 60000)
    path.write_bytes(content)
    return path


def tiff(path: Path, **tags: int) -> Path:
    """Write a small TIFF, then claim other numbers in its tags."""
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
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, name: str) -> None:
    path = BOMBS[name](tmp_path / name)
    assert path.stat().st_size < 10 * MEGA
    for read in (read_image, read_mask):
        with little_memory(), pytest.raises(ImageError, match=rf"{name}.*raise the limit"):
            read(path)
    if name.endswith((".png", "tile.tif")):
        with little_memory(), pytest.raises(ImageError, match="raise the limit"):
            read_annotation(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_inflates_without_end_is_refused(tmp_path: Path, compression: str) -> None:
    """The header promises 64 x 64 pixels, and the compressed strip holds 200 megabytes."""
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
    with little_memory(), pytest.raises(ImageError, match="inflates"):
        read_image(path, SMALL)
    with little_memory(), pytest.raises(ImageError, match="inflates"):
        read_annotation(path, SMALL)


@pytest.mark.parametrize("how", ["circle", "tags", "pages"])
def test_a_tiff_of_endless_pages_is_refused(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentfm_core.data.tiff.MAX_TAGS", 4000)  # as it is, it takes seconds
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
        with pytest.raises(ImageError, match="no end"):
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


def test_more_than_pillow_would_open_is_read_when_the_limit_allows_it(tmp_path: Path) -> None:
    """Pillow has a limit of its own for the whole process, which nobody could raise."""
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
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    words = [str(path), "--out", str(tmp_path / "out"), "--model", str(tiny_model_folder)]
    words += ["--samples", "1", "--steps", "1", "--device", "cpu", "--quiet"]
    assert predict([*words, "--max-megapixels", "0.001"]) == 2
    assert "--max-megapixels" in capsys.readouterr().err
    assert predict([*words, "--max-megapixels", "0.01"]) == 0


def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would hand a PostScript file, whatever its name, to Ghostscript."""
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


def test_nifti_that_begins_gigabytes_later_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii.gz"
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 4), np.uint8), np.eye(4)).to_bytes())
    struct.pack_into("<f", content, 108, 2.0**31)
    path.write_bytes(__import__("gzip").compress(bytes(content) + bytes(4096)))
    with little_memory(), pytest.raises(ImageError, match="first voxel"):
        read_annotation(path)


def test_reading_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    """Python itself would reserve all that a damaged header makes a decoder ask for."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    with BoundedReader(path) as stream:
        assert (stream.read(3), stream.read(2**60), stream.read(2**60)) == (b"con", b"tent", b"")


# --- Folders, splits, lists: nothing outside -------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for name in ("images", "masks", "outside"):
        folder = tmp_path / "root" / name if name != "outside" else tmp_path / name
        folder.mkdir(parents=True)
        for image in ("a", "b"):
            pixels = np.zeros((8, 8), np.uint8)
            pixels[:4] = 255
            Image.fromarray(pixels).save(folder / f"{image}.png")
    return tmp_path / "root"


@links
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_links_out_of_a_folder_are_refused_unless_allowed(dataset: Path, folder: str) -> None:
    link = dataset / folder / "b.png"
    link.unlink()
    link.symlink_to(dataset.parent / "outside" / "b.png")
    images, masks = dataset / "images", dataset / "masks"
    with pytest.raises(DatasetError, match=r"b\.png.*--follow-links"):
        find_pairs(images, masks)
    allowed = ReadingConfig(follow_links=True)
    assert len(find_pairs(images, masks, limits=allowed)) == 2
    # A link within the folder leads nowhere else.
    link.unlink()
    link.symlink_to("a.png")
    assert len(list_images(dataset / folder)) == 2


@links
def test_a_folder_of_a_rater_may_not_lie_elsewhere(dataset: Path) -> None:
    masks = dataset / "raters"
    shutil.copytree(dataset / "masks", masks / "one")
    (masks / "two").symlink_to(dataset.parent / "outside")
    with pytest.raises(DatasetError, match=r"two.*--follow-links"):
        find_pairs(dataset / "images", masks)
    (masks / "two").unlink()
    assert len(find_pairs(dataset / "images", masks)) == 2


@links
def test_a_work_list_writes_through_no_link(dataset: Path) -> None:
    images, outside = dataset / "images", dataset.parent / "outside"
    (images / FOLDER_NAME).symlink_to(outside)
    with pytest.raises(OutputError, match="link to another folder"):
        WorkList(images)
    (images / FOLDER_NAME).unlink()
    (images / FOLDER_NAME).mkdir()
    (images / FOLDER_NAME / "in_progress").symlink_to(outside)
    with pytest.raises(OutputError, match="link to another folder"):
        WorkList(images)
    (images / FOLDER_NAME / "in_progress").unlink()
    work = WorkList(images)
    work.annotation("a.png").symlink_to(outside / "a.png")
    assert work.kept("a.png") is None
    assert sorted(path.name for path in outside.iterdir()) == ["a.png", "b.png"]


@links
def test_results_are_written_through_no_link(
    dataset: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, outside = dataset / "out", dataset.parent / "outside"
    out.mkdir()
    (out / "a_samples").symlink_to(outside)
    words = [dataset / "images" / "a.png", "--out", out, "--model", tiny_model_folder]
    words += ["--samples", 2, "--steps", 1, "--format", "png", "--device", "cpu", "--quiet"]
    assert predict(list(map(str, words))) == 2
    assert "is a link" in capsys.readouterr().err
    assert sorted(path.name for path in outside.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "name", ["../outside/a", "/etc/passwd", "..", "C:\\a", "x/../../a", "a\0b"]
)
def test_a_split_file_holds_names_and_no_paths(dataset: Path, name: str) -> None:
    file = dataset / "split.json"
    file.write_text(json.dumps({"train": ["a", name]}))
    with pytest.raises(DatasetError, match="paths"):
        read_split(file)


def test_a_split_file_of_many_names_is_read_at_once(dataset: Path) -> None:
    """Looking for each name in the whole list would take hours."""
    file = dataset / "split.json"
    names = [f"image_{index}" for index in range(100_000)]
    file.write_text(json.dumps({"train": names}))
    assert len(read_split(file).train) == 100_000


# --- JSON, TOML and CSV ----------------------------------------------------------------------

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [DEEP, '{"train": ' + DEEP, "[" + "9" * 5000 + "]", "NaN", '"\\ud800"', " " * 17_000_000],
)
def test_json_of_any_shape_is_an_error_of_the_file(
    dataset: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = dataset / "file.json"
    file.write_text(content)
    with pytest.raises(DatasetError, match=r"file\.json"):
        read_split(file)
    assert read_sidecar(file) is None
    (dataset / "preferences.json").write_text(content)
    monkeypatch.setenv("NAPARI_LATENTFM_HOME", str(dataset))
    assert preferences.get("train") == {}


@pytest.mark.parametrize(
    "content",
    [
        f"a = {DEEP}",
        "a = " + "9" * 5000,
        "[data]\nimages = 'a\\u0000b'".replace("'", '"'),
        "[training]\nkl_weight = nan",
        "[training.flow]\nlearning_rate = inf",
        "[model]\nvelocity_widths = []",
        "[model]\nvelocity_widths = [9223372036854775800]",
        "[model]\ncondition_blocks = [1, 1, 1, 1000000000]",
        "[data]\nsize = 32\n[model]\nvelocity_widths = [8, 8, 8, 8]",
        "# " + "x" * 300_000,
    ],
)
def test_toml_of_any_shape_is_an_error_of_the_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    with pytest.raises(ConfigError):
        load_config(file)


@pytest.mark.parametrize("key", ["a" + ".a" * 5000, '"a"' + ".b" * 5000, "'a'" + ' . "b"' * 5000])
def test_keys_of_thousands_of_parts_are_not_parsed(tmp_path: Path, key: str) -> None:
    """The parser takes time by the square of their number: minutes for a file of 256 kB."""
    file = tmp_path / "settings.toml"
    file.write_text(f"{key} = 1")
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(file)
    file.write_text(f'# {"." * 99}\n[data]\nimages = "a{"." * 99}"')
    load_config(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_does_not_hold_up_the_program(dataset: Path) -> None:
    pipe = dataset / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DatasetError, match="pipe"):
        read_split(pipe)
    with pytest.raises(DatasetError, match="pipe"):
        read_groups(pipe, "group", ["a"])
    with pytest.raises(ConfigError, match="pipe"):
        load_config(pipe)


# --- Model folders and checkpoints -----------------------------------------------------------


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return copy_model(tiny_model_folder, tmp_path / "model")


def edit(folder: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    path = folder / "model.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def declare(folder: Path) -> None:
    """Make the card tell the truth about the weights file as it is now."""
    path = folder / "model.safetensors"
    told = {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    edit(folder, lambda card: card["weights"].update(told))


def test_no_pickle_is_loaded(model: Path, tmp_path: Path) -> None:
    trap = Trap(tmp_path / "ran")
    for name in ("model.pt", "model.pth", "pytorch_model.bin", "model.pkl", "data.pkl"):
        (model / name).write_bytes(pickle.dumps(trap))
    torch.save({"x": trap}, model / "checkpoint.pt")
    load_model(model)
    size = (model / "model.safetensors").stat().st_size
    (model / "model.safetensors").write_bytes(pickle.dumps(trap).ljust(size, b"."))
    declare(model)
    with pytest.raises(ModelFolderError, match="no readable safetensors"):
        load_model(model)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "ran").exists(), "the trap works"


@pytest.mark.parametrize(
    "sizes",
    [
        {"condition_widths": [4096] * 4, "condition_blocks": [64] * 4},
        {"velocity_widths": [4096] * 4, "velocity_blocks": 64},
        {"vae_width": 256, "downsample": 8},
    ],
)
def test_a_card_of_a_huge_network_takes_no_memory(model: Path, sizes: dict[str, object]) -> None:
    edit(model, lambda card: card["config"]["model"].update(sizes))
    with little_memory(200 * MEGA), pytest.raises(ModelFolderError, match="does not fit"):
        load_model(model)


def test_a_file_larger_than_the_network_is_not_even_hashed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model / "model.safetensors"
    with path.open("r+b") as stream:
        stream.truncate(2**34)  # takes no place on the disk
    edit(model, lambda card: card["weights"].update(size_bytes=2**34))
    monkeypatch.setattr("latentfm_core.store.folder.file_sha256", lambda _path: pytest.fail("read"))
    with pytest.raises(ModelFolderError, match="does not fit"):
        load_model(model)


def test_a_header_may_not_claim_other_tensors(model: Path) -> None:
    path = model / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header["latent_mean"]["shape"] = [2**40, 2**20]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    declare(model)
    with little_memory(), pytest.raises(ModelFolderError):
        load_model(model)


@pytest.mark.parametrize("damage", ["format", "nan"])
def test_weights_are_of_the_declared_format_and_finite(model: Path, damage: str) -> None:
    tensors = load_file(model / "model.safetensors")
    if damage == "format":
        tensors["latent_mean"] = tensors["latent_mean"].to(torch.float8_e5m2)
    else:
        tensors["latent_std"][...] = torch.nan
    save_file(tensors, model / "model.safetensors")
    declare(model)
    with pytest.raises(ModelFolderError, match=r"does not fit|NaN or infinite"):
        load_model(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", DEEP),
        ("config", "[]"),
        ("config", '{"model": {"vae_width": 64}}'),
        ("position", DEEP),
        ("position", '{"stage": "elsewhere"}'),
        ("position", '{"stage": "flow", "step": -5}'),
        ("position", '{"stage": "flow", "step": "many"}'),
    ],
)
def test_a_checkpoint_is_checked_before_it_is_used(tmp_path: Path, key: str, value: str) -> None:
    header = {"position": '{"stage": "flow"}', "config": json.dumps(tiny_config().to_json())}
    save_file({"model.x": torch.zeros(2)}, tmp_path / FILE, metadata={**header, key: value})
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(tmp_path)


# --- Autosaves -------------------------------------------------------------------------------


def test_an_autosave_that_grows_is_passed_over(tmp_path: Path) -> None:
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
