"""Export and measurements of a work list by its buttons."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist import exporting
from napari_latentfm.worklist.export_dialog import ExportDialog, Wanted
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.annotations import info
from tests.helpers.plugin_fixtures import PATIENCE

COUNT = 3


def mask() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 20:50] = 1
    return labels


@pytest.fixture
def panel(make_napari_viewer: Any, tmp_path: Path, blob_folders: tuple[Path, Path]) -> QueuePanel:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        name = f"blob_{number:03d}.png"
        (folder / name).write_bytes((blob_folders[0] / name).read_bytes())
    work = WorkList(folder)
    for name in work.names[:2]:
        stem = Path(name).stem
        export_annotation(
            work.annotation(name), mask(), info((64, 64), image=name, classes=("lesion",))
        )
        work.update(name, state="completed", file=f"{stem}.tif")
    viewer = make_napari_viewer()
    panel = QueuePanel(viewer)
    viewer.window.add_dock_widget(panel, name="Queue")
    panel._navigator.work = work
    panel._refresh()
    return panel


def finish(qtbot: Any, panel: QueuePanel, button: Any) -> str:
    endings: list[str] = []
    panel.exporting.finished.connect(endings.append)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    return endings[0]


def test_measurements_from_the_dialog(qtbot: Any, panel: QueuePanel, tmp_path: Path) -> None:
    path = tmp_path / "sizes.csv"

    def fill_in() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, ExportDialog)
        dialog.target.setText(str(path))
        dialog.pixel.setValue(0.5)
        dialog.findChild(QDialogButtonBox).accepted.emit()

    QTimer.singleShot(500, fill_in)
    assert finish(qtbot, panel, panel.form.sizes) == "done"
    assert "2 images" in panel.form.status.text()
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    assert [row["class"] for row in rows] == ["lesion", "lesion", ""]
    assert float(rows[0]["area"]) == 600 * 0.25
    assert rows[0]["unit"] == "mm"


def test_an_unexpected_error_is_not_reported_as_a_cancelled_export(
    qtbot: Any, panel: QueuePanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[object]:
        yield from ()
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(exporting, "export_accepted", fail)
    errors: list[Exception] = []
    panel.exporting.failed.connect(errors.append)
    panel.exporting.ask = lambda _work, _table: Wanted("png", tmp_path / "out")
    assert finish(qtbot, panel, panel.form.export) == "failed"
    assert "bug in napari-latentfm (RuntimeError: unforeseen)" in str(errors[0])


def test_existing_files_are_replaced_only_if_allowed(
    qtbot: Any, panel: QueuePanel, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    panel.exporting.ask = lambda _work, _table: Wanted("png", out)
    assert finish(qtbot, panel, panel.form.export) == "done"
    np.testing.assert_array_equal(read_annotation(out / "blob_000.png")[0], mask())
    (out / "blob_000.png").write_bytes(b"mine")
    asked: list[list[Path]] = []
    panel.exporting.may_replace = lambda files: bool(asked.append(files))
    qtbot.mouseClick(panel.form.export, Qt.MouseButton.LeftButton)
    assert len(asked[0]) == 2
    assert not panel.exporting.busy
    assert (out / "blob_000.png").read_bytes() == b"mine"


def test_an_unwritable_target_is_reported(
    qtbot: Any, panel: QueuePanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_latentfm.worklist.panel.show_error", said.append)
    (tmp_path / "file").write_text("")
    panel.exporting.ask = lambda _work, _table: Wanted("coco", tmp_path / "file" / "a.json")
    assert finish(qtbot, panel, panel.form.export) == "failed"
    assert "choose another folder" in said[0]
    assert panel.form.export.isEnabled()


def test_images_that_were_not_exported_are_reported(
    qtbot: Any, panel: QueuePanel, tmp_path: Path
) -> None:
    assert panel.work is not None
    panel.work.annotation(panel.work.names[0]).unlink()
    panel.exporting.ask = lambda _work, _table: Wanted("coco", tmp_path / "a.json")
    assert finish(qtbot, panel, panel.form.export) == "done"
    text = panel.form.status.text()
    assert "Exported 1 image to a.json. Not exported: blob_000.png: " in text


def test_images_are_never_replaced(
    qtbot: Any, panel: QueuePanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_latentfm.worklist.panel.show_error", said.append)
    assert panel.work is not None
    images = panel.work.folder
    before = (images / "blob_000.png").read_bytes()
    panel.exporting.ask = lambda _work, _table: Wanted("png", images)
    panel.exporting.may_replace = lambda _files: True
    qtbot.mouseClick(panel.form.export, Qt.MouseButton.LeftButton)
    assert not panel.exporting.busy
    assert "work list itself" in said[0]
    assert (images / "blob_000.png").read_bytes() == before


def test_exporting_waits_for_an_accepted_image(panel: QueuePanel) -> None:
    assert panel.work is not None
    for name in panel.work.names:
        panel.work.update(name, state="in progress")
    panel._refresh()
    for button in (panel.form.export, panel.form.sizes):
        assert not button.isEnabled()
        assert button.toolTip().endswith("Accept an image first.")
    panel.work.update(panel.work.names[0], state="completed")
    panel._refresh()
    assert panel.form.export.isEnabled()
    assert "Accept an image" not in panel.form.export.toolTip()
