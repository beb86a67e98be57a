"""Untrusted folders, lists, settings and models: access and size are bounded."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from latentfm_core.cli.predict import main as predict
from latentfm_core.config import ReadingConfig, load_config
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.datasets.splits import read_groups, read_split
from latentfm_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    ModelFolderError,
    OutputError,
)
from latentfm_core.files.untrusted import parse_json
from latentfm_core.images.read import list_images
from latentfm_core.model_io.folder import file_sha256, load_model
from latentfm_core.output.result import read_sidecar
from latentfm_core.training.checkpoint import FILE, read_checkpoint
from latentfm_core.worklist.state import FOLDER_NAME, WorkList
from napari_latentfm import preferences
from tests.helpers.commands import Printed
from tests.helpers.fixtures import copy_model, little_memory, tiny_config

MEGA = 2**20
SMALL = ReadingConfig(max_megapixels=1, max_megabytes=8)
links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


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
    # A link within the folder stays inside it.
    link.unlink()
    link.symlink_to("a.png")
    assert len(list_images(dataset / folder)) == 2


@links
def test_a_rater_folder_outside_the_data_is_refused(dataset: Path) -> None:
    masks = dataset / "raters"
    shutil.copytree(dataset / "masks", masks / "one")
    (masks / "two").symlink_to(dataset.parent / "outside")
    with pytest.raises(DatasetError, match=r"two.*--follow-links"):
        find_pairs(dataset / "images", masks)
    (masks / "two").unlink()
    assert len(find_pairs(dataset / "images", masks)) == 2


@links
def test_a_work_list_does_not_write_through_links(dataset: Path) -> None:
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
def test_results_are_not_written_through_links(
    dataset: Path, tiny_model_folder: Path, refused: Printed
) -> None:
    out, outside = dataset / "out", dataset.parent / "outside"
    out.mkdir()
    (out / "a_samples").symlink_to(outside)
    words = [dataset / "images" / "a.png", "--out", out, "--model", tiny_model_folder]
    words += ["--samples", 2, "--steps", 1, "--format", "png", "--device", "cpu", "--quiet"]
    assert "is a link" in refused(predict, list(map(str, words)))
    assert sorted(path.name for path in outside.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["../outside/a", "/etc/passwd", "..", "x/../../a", "a\0b"])
def test_a_split_file_contains_names_and_not_paths(dataset: Path, name: str) -> None:
    file = dataset / "split.json"
    file.write_text(json.dumps({"train": ["a", name]}))
    with pytest.raises(DatasetError, match="1 path: "):
        read_split(file)


def test_a_split_file_with_many_names_is_read_quickly(dataset: Path) -> None:
    """Searching the whole list for each name would take hours."""
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
def test_invalid_json_of_any_form_is_reported_with_its_file(
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
def test_invalid_toml_of_any_form_is_reported_with_its_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    with pytest.raises(ConfigError):
        load_config(file)


@pytest.mark.parametrize("key", ["a" + ".a" * 5000, '"a"' + ".b" * 5000, "'a'" + ' . "b"' * 5000])
def test_keys_with_thousands_of_parts_are_not_parsed(tmp_path: Path, key: str) -> None:
    """The time of the parser is quadratic in their number: minutes for a file of 256 kB."""
    file = tmp_path / "settings.toml"
    file.write_text(f"{key} = 1")
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(file)
    file.write_text(f'# {"." * 99}\n[data]\nimages = "a{"." * 99}"')
    load_config(file)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_json(f'{{"a": [1.5, {number}]}}')
    assert parse_json("[1.5, 1e300]") == [1.5, 1e300]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_does_not_block_the_program(dataset: Path) -> None:
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
    """Update the hash of the weights file on the card."""
    path = folder / "model.safetensors"
    reported = {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    edit(folder, lambda card: card["weights"].update(reported))


def test_pickles_are_not_loaded(model: Path, tmp_path: Path) -> None:
    trap = Trap(tmp_path / "ran")
    for name in ("model.pt", "model.pth", "pytorch_model.bin", "model.pkl", "data.pkl"):
        (model / name).write_bytes(pickle.dumps(trap))
    torch.save({"x": trap}, model / "checkpoint.pt")
    load_model(model)
    size = (model / "model.safetensors").stat().st_size
    (model / "model.safetensors").write_bytes(pickle.dumps(trap).ljust(size, b"."))
    declare(model)
    with pytest.raises(ModelFolderError, match="not a readable safetensors"):
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
def test_a_card_of_a_huge_network_allocates_no_memory(
    model: Path, sizes: dict[str, object]
) -> None:
    edit(model, lambda card: card["config"]["model"].update(sizes))
    with little_memory(200 * MEGA), pytest.raises(ModelFolderError, match="does not fit"):
        load_model(model)


def test_a_file_larger_than_the_network_is_not_even_hashed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model / "model.safetensors"
    with path.open("r+b") as stream:
        stream.truncate(2**34)  # takes no disk space
    edit(model, lambda card: card["weights"].update(size_bytes=2**34))
    monkeypatch.setattr(
        "latentfm_core.model_io.folder.file_sha256", lambda _path: pytest.fail("read")
    )
    with pytest.raises(ModelFolderError, match="does not fit"):
        load_model(model)


def test_a_header_with_other_tensors_is_refused(model: Path) -> None:
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
def test_weights_must_have_the_declared_format_and_be_finite(model: Path, damage: str) -> None:
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
    with pytest.raises(CheckpointError, match="is damaged") as raised:
        read_checkpoint(tmp_path)
    assert not re.search(r"validation error|pydantic|Input should", str(raised.value))
