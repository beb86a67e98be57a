"""Pipes, sockets, devices and folders in place of files are reported and never block."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import load_config
from latentfm_core.datasets.splits import read_split
from latentfm_core.errors import LatentFMError
from latentfm_core.files.regular import NotRegularError, open_regular
from latentfm_core.images.open_large import open_large
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.file_names import WEIGHTS
from latentfm_core.prompts.files import read_prompts
from latentfm_core.worklist.state import WorkList

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")

KINDS = {"pipe": "a named pipe", "socket": "a socket", "device": "a device", "folder": "a folder"}
Put = Callable[[str, str], Path]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    opened = []
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short

    def make(kind: str, name: str) -> Path:
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            opened.append(socket.socket(socket.AF_UNIX))
            opened[-1].bind(name)
        return path

    yield make
    for each in opened:
        each.close()


def large(path: Path) -> Any:
    with open_large(path) as image:
        return image


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(put: Put, kind: str) -> None:
    path = put(kind, "x")
    with pytest.raises(NotRegularError, match=f"it is {KINDS[kind]}, not a file"):
        open_regular(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x.png", read_image),
        ("x.tif", read_image),
        ("x.png", read_mask),
        ("x.tif", TiffStack),
        ("x.tif", large),
        ("x.nii.gz", read_annotation),
        ("x.png", read_annotation),
        ("x.toml", load_config),
        ("x.json", read_split),
        ("x.json", read_prompts),
    ],
)
def test_every_reader_names_the_path_and_its_file_type(
    put: Put, kind: str, name: str, read: Callable[[Path], Any]
) -> None:
    if kind == "folder" and read is read_prompts:
        pytest.skip("prompts may be a folder of label images")
    path = put(kind, name)
    with pytest.raises(LatentFMError) as caught:
        read(path)
    assert name in str(caught.value)
    assert f"{KINDS[kind]}, not a file" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.json", WEIGHTS])
def test_files_of_a_model_folder(put: Put, kind: str, name: str) -> None:
    path = put(kind, name)
    with pytest.raises(LatentFMError, match=f"{name} is {KINDS[kind]}, not a file"):
        read_card(path.parent)


def test_a_chunk_of_zarr(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    zarr.create_array(str(folder), data=np.ones((8, 9), np.uint8), chunks=(8, 9), zarr_format=2)
    chunk = folder / "0.0"
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(Exception, match="a named pipe"), open_large(folder) as image:
        np.asarray(image.levels[0][0:8, 0:9])


def test_the_state_of_a_work_list(tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    output.mkdir()
    Image.fromarray(np.ones((8, 9), np.uint8)).save(images / "a.png")
    work = WorkList(images, output)
    work.file.unlink(missing_ok=True)
    os.mkfifo(work.file)
    with pytest.raises(LatentFMError, match="a named pipe, not a file"):
        WorkList(images, output)
