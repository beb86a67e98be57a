"""The dock in a real window, with the small model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.dock import accepting
from napari_latentfm.dock.panel import LatentFMPanel
from tests.helpers.plugin_fixtures import PATIENCE, OpenDock

MANIFEST = Path(str(resources.files("napari_latentfm"))) / "napari.yaml"
NAMES = ["blob_000.png", "blob_001.png", "blob_002.png"]


class Bench:
    """A viewer with the dock and an open folder."""

    def __init__(self, viewer: Any, panel: LatentFMPanel, folder: Path, qtbot: Any) -> None:
        self.viewer, self.panel, self.folder, self.qtbot = viewer, panel, folder, qtbot
        self.shown: list[str] = []
        panel.queue.shown.connect(self.shown.append)
        panel.open_folder(folder)
        self.wait_for(NAMES[0])

    @property
    def canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas.native

    def wait_for(self, name: str) -> None:
        self.qtbot.waitUntil(lambda: self.shown[-1:] == [name], timeout=PATIENCE)
        assert self.panel.queue.current == name

    def wait_until_completed(self, name: str) -> None:
        self.qtbot.waitUntil(lambda: self.item(name).state == "completed", timeout=PATIENCE)

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def press(self, where: Any, key: Qt.Key = Qt.Key.Key_Return) -> None:
        """Press a key in the widget with the focus."""
        self.panel.window().activateWindow()
        where.setFocus()
        self.qtbot.waitUntil(where.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(where, key)

    def annotate(self) -> None:
        mask = np.zeros((64, 64), bool)
        mask[:9, :9] = True
        write_labels(self.panel.session, mask)

    @property
    def layer(self) -> Any:
        return self.panel.queue.open_image.layer

    @property
    def mean_mask(self) -> Any:
        return next(each for each in self.viewer.layers if each.name.endswith("mean mask"))

    def file(self, name: str) -> Path:
        """Return the file of an accepted annotation."""
        return WorkList(self.folder).annotation(name)

    def item(self, name: str) -> Any:
        """Return the state of an image as stored in the file."""
        return WorkList(self.folder).item(name)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept every key press: tests press faster than a person."""
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
def opened(opened_dock: OpenDock) -> OpenDock:
    return opened_dock


@pytest.fixture
def bench(opened: OpenDock, images: Path, qtbot: Any) -> Bench:
    viewer, panel = opened(show=True)
    return Bench(viewer, panel, images, qtbot)
