"""The dock in a real window, with the small model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from napari_latentfm.dock import accepting
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.ui.choices import FOLDER_CHOICE

MANIFEST = Path(str(resources.files("napari_latentfm"))) / "napari.yaml"
NAMES = ["blob_000.png", "blob_001.png", "blob_002.png"]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every press counts: tests are faster than hands."""
    monkeypatch.setattr(accepting, "TOGETHER", 0.0)


@pytest.fixture
def plugin(npe2pm: Any) -> Iterator[Any]:
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)) as plugin:
        yield plugin


@pytest.fixture
def images(blob_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(blob_folders[0] / name, folder)
    return folder


@pytest.fixture
def opened(make_napari_viewer: Callable[..., Any], tiny_model_folder: Path) -> Callable[..., Any]:
    """Return a function that opens a viewer with the dock and the small model in it."""

    def open_one(show: bool = False) -> tuple[Any, LatentFMPanel]:
        viewer = make_napari_viewer(show=show)
        panel = open_dock(viewer)
        form = panel.sampling.form
        form.folder.value = tiny_model_folder
        form.model.value = FOLDER_CHOICE
        form.device.value = "cpu"
        form.n_samples.value = 3
        form.steps.value = 2
        return viewer, panel

    return open_one
