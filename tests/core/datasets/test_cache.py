"""The cache of decoded images."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentfm_core.cli.commands.train_config import make_config
from latentfm_core.cli.train import build_parser
from latentfm_core.config import DataConfig, config_from_mapping
from latentfm_core.datasets import in_memory
from latentfm_core.datasets.cache import FORMAT, SUFFIX, CanvasCache
from latentfm_core.datasets.in_memory import CanvasSet, load_canvases
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import DatasetError, OutputError
from latentfm_core.training.run_card import portable
from tests.helpers.fixtures import write_blobs


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return find_pairs(*write_blobs(tmp_path / "data", count=4))


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    return DataConfig(size=32, cache=tmp_path / "private" / "cache")


def kept(data: DataConfig) -> list[Path]:
    assert data.cache is not None
    return sorted(data.cache.glob(f"*{SUFFIX}"))


def assert_same(first: CanvasSet, second: CanvasSet) -> None:
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_the_second_run_decodes_nothing(
    pairs: list[Pair], data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_canvases(pairs, DataConfig(size=32))
    assert_same(load_canvases(pairs, data), plain)
    assert len(kept(data)) == 4
    if os.name == "posix":
        assert data.cache is not None
        assert data.cache.stat().st_mode & 0o077 == 0

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(in_memory, "read_references", refuse)
    assert_same(load_canvases(pairs, data), plain)
    backwards = load_canvases(pairs[::-1], data)
    np.testing.assert_array_equal(backwards.images, plain.images[::-1])


def test_a_changed_file_and_other_settings_are_decoded(pairs: list[Pair], data: DataConfig) -> None:
    before = load_canvases(pairs, data)
    mask = np.array(Image.open(pairs[0].masks[0]))
    Image.fromarray(255 - mask).save(pairs[0].masks[0])
    os.utime(pairs[0].masks[0], (1, 1))
    after = load_canvases(pairs, data)
    assert (after.masks[0] != before.masks[0]).mean() > 0.95
    np.testing.assert_array_equal(after.masks[1:], before.masks[1:])
    assert load_canvases(pairs, data.model_copy(update={"size": 64})).images.shape[1] == 64
    stretched = data.model_copy(update={"fit": "stretch"})
    load_canvases(pairs, stretched)
    assert len(kept(data)) == 4 + 1 + 4 + 4


@pytest.mark.skipif(os.name == "nt", reason="the time of change is a POSIX concept")
def test_another_file_of_the_same_size_and_date_is_decoded(
    pairs: list[Pair], data: DataConfig
) -> None:
    """As copies leave it that keep the date (``cp -p``, ``rsync``, an unpacked archive)."""
    path = pairs[0].masks[0]
    mask = np.array(Image.open(path))
    Image.fromarray(mask).save(path, compress_level=0)
    before, state = load_canvases(pairs, data), path.stat()
    Image.fromarray(255 - mask).save(path.with_suffix(".new"), "PNG", compress_level=0)
    os.utime(path.with_suffix(".new"), ns=(state.st_atime_ns, state.st_mtime_ns))
    path.with_suffix(".new").replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert (load_canvases(pairs, data).masks[0] != before.masks[0]).mean() > 0.95


def test_the_raters_and_the_provenance_of_a_mask_are_part_of_the_key(
    pairs: list[Pair], data: DataConfig
) -> None:
    def count(*, pair: Pair = pairs[0]) -> int:
        load_canvases([pair], data)
        return len(kept(data))

    assert count() == count() == 1
    assert count(pair=replace(pairs[0], raters=("anna",))) == 2
    assert count(pair=replace(pairs[0], raters=("ben",))) == 3
    mask = pairs[0].masks[0]
    mask.with_name(f"{mask.name}.json").write_text("{}")
    assert count() == count() == 4
    mask.with_suffix(".json").write_text("{}")
    assert count() == 5


@pytest.mark.parametrize("damage", [b"", b"short", bytes(2**20), None])
def test_a_damaged_cache_file_is_not_used(
    pairs: list[Pair], data: DataConfig, damage: bytes | None
) -> None:
    before = load_canvases(pairs, data)
    for path in kept(data):
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(bytes(content) if damage is None else damage)
    assert_same(load_canvases(pairs, data), before)
    assert_same(load_canvases(pairs, data), before)
    assert len({path.stat().st_size for path in kept(data)}) == 1


def test_the_format_number_matches_the_stored_facts() -> None:
    names = (
        "name orientation mask_orientations codings threshold scales objects square signature "
        "raters agreements rims pieces outlined pixels"
    )
    # An older file would be read without the new fields: increase the number with them.
    assert (FORMAT, [field.name for field in fields(StoredPair)]) == (10, names.split())


def test_bad_files_are_reported_each_time(pairs: list[Pair], data: DataConfig) -> None:
    pairs[1].image.write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(DatasetError, match="1 of 4 pairs"):
            load_canvases(pairs, data)
    assert len(kept(data)) == 3


def test_the_least_recently_used_entries_are_removed_first(
    pairs: list[Pair], data: DataConfig
) -> None:
    load_canvases(pairs, data)
    assert data.cache is not None
    (data.cache / "notes.txt").write_text("mine")
    for age, path in enumerate(kept(data)):
        os.utime(path, (1000 + age, 1000 + age))
    oldest, newest = kept(data)[:2], kept(data)[2:]
    size = newest[0].stat().st_size
    CanvasCache(data.cache, data, 32, 1).trim(limit=2 * size)
    assert kept(data) == newest
    assert not any(path.exists() for path in oldest)
    assert (data.cache / "notes.txt").exists()


def test_a_folder_that_cannot_be_created_is_reported(pairs: list[Pair], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="--cache"):
        load_canvases(pairs, DataConfig(size=32, cache=tmp_path / "file"))


def test_the_cache_option_is_in_the_settings_but_not_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_config(build_parser().parse_args(["--out", "model", "--cache", "kept"]))
    assert config.data.cache == tmp_path / "kept"
    assert config_from_mapping(config.to_json()) == config
    assert portable(config).data.cache is None
