"""Panels report full, read-only or missing disks, and keep the annotation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.worklist.state import UNFINISHED, WorkList
from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.preferences import HOME_VARIABLE
from napari_latentfm.results.session import session_of
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.annotating import Window, open_window
from tests.helpers.disks import PretendedDisk, RealDisk, one_disk, pretended_disk, real_disk
from tests.helpers.fixtures import Folders
from tests.helpers.plugin_fixtures import PATIENCE, ending_of
from tests.plugin.annotation.test_section import export, press
from tests.plugin.finetuning.test_finetuning_panel import folders, opened
from tests.plugin.worklist.test_worklist_panel import NAMES, annotate, images, queue, wait_for

__all__ = ["folders", "images", "one_disk", "open_window", "opened", "pretended_disk", "queue"]
__all__ += ["real_disk"]

Disk = RealDisk | PretendedDisk
Open = Callable[..., tuple[Any, QueuePanel]]


def listen_to(monkeypatch: pytest.MonkeyPatch, place: str) -> list[str]:
    """Return a list that receives the notifications of a module."""
    said: list[str] = []
    monkeypatch.setattr(f"napari_latentfm.{place}", said.append)
    return said


# --- export and autosave ------------------------------------------------------------------


def test_an_export_to_a_full_disk_is_reported_and_works_elsewhere(
    one_disk: Disk,
    open_window: Callable[..., Window],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = listen_to(monkeypatch, "annotation.section.show_error")
    window = open_window()
    press(window, "(Shift+M)")
    window.wait(lambda: bool(window.states))
    before = window.layer.data.copy()
    one_disk.fill()
    assert export(window, one_disk.folder / "skin.tif") == "failed"
    assert "the disk is full" in said[0]
    assert "choose another folder" in window.section.status.text()
    np.testing.assert_array_equal(window.layer.data, before)
    assert [path.name for path in one_disk.folder.iterdir() if path.name != "filler"] == []
    one_disk.repair()
    one_disk.make_read_only()
    assert export(window, one_disk.folder / "skin.tif") == "failed"
    assert "read-only" in said[-1]
    assert window.states, "it is not exported: a crash would still offer it"
    (tmp_path / "elsewhere").mkdir()
    assert export(window, tmp_path / "elsewhere" / "skin.tif") == "done"
    labels, sidecar = read_annotation(tmp_path / "elsewhere" / "skin.tif")
    np.testing.assert_array_equal(labels, before)
    assert sidecar is not None
    window.wait(lambda: not window.states)


def test_an_export_to_a_missing_folder_is_refused(
    open_window: Callable[..., Window], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = listen_to(monkeypatch, "annotation.section.show_error")
    window = open_window()
    press(window, "(Shift+M)")
    assert export(window, tmp_path / "drive" / "skin.tif") == "failed"
    assert "the folder does not exist. Create it, or choose another one." in said[0]
    assert not (tmp_path / "drive").exists()
    assert window.layer.data.any()


def test_autosave_on_a_full_disk_is_reported_once_and_retried(
    one_disk: Disk, open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(one_disk.folder / "home"))
    monkeypatch.setattr(autosave_module, "LONGEST_MS", 200)
    said = listen_to(monkeypatch, "annotation.section.show_warning")
    failures: list[str] = []
    window = open_window()
    window.section.autosaver.failed.connect(failures.append)
    one_disk.fill()
    press(window, "(Shift+M)")
    window.wait(lambda: len(failures) > 2)
    assert len(said) == 1, "once, however often it fails"
    assert "the disk is full" in said[0]
    assert "Export" in said[0]
    assert window.section.kept.text() == "Not autosaved"
    window.stroke()
    before = window.layer.data.copy()
    one_disk.repair()
    window.wait(lambda: window.section.kept.text().startswith("Autosaved"))
    assert autosave_folder().is_relative_to(one_disk.folder)
    window.wait(lambda: np.array_equal(window.states[0].labels(), before))
    shutil.rmtree(autosave_folder())
    window.stroke(4)
    window.wait(lambda: bool(window.states))
    assert len(said) == 1
    window.section.autosaver.close()


# --- work list ----------------------------------------------------------------------------


def blocked(qtbot: Any, panel: QueuePanel, act: Callable[[], None]) -> None:
    """Call a function that fails, and wait for its message."""
    endings: list[str] = []
    panel.settled.connect(endings.append)
    act()
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    panel.settled.disconnect(endings.append)
    assert endings[0] == "failed"


def test_a_work_list_on_a_full_disk_stays_open_and_saves_elsewhere(
    one_disk: Disk, qtbot: Any, queue: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = listen_to(monkeypatch, "worklist.panel.show_error")
    viewer, panel = queue(wait=False)
    panel.form.output.setText(str(one_disk.folder / "out"))
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    wait_for(qtbot, panel, NAMES[1], panel.next)
    mask = annotate(viewer)
    qtbot.waitUntil(lambda: panel.sampler._active is None, timeout=PATIENCE)
    said.clear()
    one_disk.fill()
    for act in (panel.next, panel.accept):
        blocked(qtbot, panel, act)
        assert "the disk is full" in said[-1]
        assert "the disk is full" in panel.form.status.text()
        assert panel.current == NAMES[1]
        layer = annotation_of(session_of(viewer), create=False)
        assert layer is not None
        np.testing.assert_array_equal(layer.data, mask)
        assert panel.open_image.snapshot() is not None, "it still counts as unsaved"
    other = tmp_path / "other"
    panel.form.output.setText(str(other))
    wait_for(qtbot, panel, NAMES[1], panel.open_folder)
    labels, sidecar = read_annotation(other / UNFINISHED / "blob_001.tif")
    np.testing.assert_array_equal(labels, mask)
    assert sidecar is not None
    again = annotation_of(session_of(viewer), create=False)
    assert again is not None
    np.testing.assert_array_equal(again.data, mask)
    work = WorkList(panel.work.folder, other)
    assert work.item(NAMES[1]).state == "in progress"


def test_a_work_list_on_a_full_disk_continues_once_there_is_space(
    one_disk: Disk, qtbot: Any, queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = listen_to(monkeypatch, "worklist.panel.show_error")
    viewer, panel = queue(wait=False)
    panel.form.output.setText(str(one_disk.folder / "out"))
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    mask = annotate(viewer)
    qtbot.waitUntil(lambda: panel.sampler._active is None, timeout=PATIENCE)
    one_disk.fill()
    blocked(qtbot, panel, panel.next)
    one_disk.repair()
    one_disk.make_read_only()
    blocked(qtbot, panel, panel.next)
    assert "read-only" in said[-1]
    one_disk.repair()
    wait_for(qtbot, panel, NAMES[1], panel.next)
    labels, _ = read_annotation(one_disk.folder / "out" / UNFINISHED / "blob_000.tif")
    np.testing.assert_array_equal(labels, mask)


def test_a_missing_folder_blames_no_image_and_loses_no_annotation(
    qtbot: Any,
    queue: Open,
    images: Path,
    blob_folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = listen_to(monkeypatch, "worklist.panel.show_error")
    late = listen_to(monkeypatch, "worklist.late_warnings.show_error")
    viewer, panel = queue()
    mask = annotate(viewer)
    layer = annotation_of(session_of(viewer), create=False)
    qtbot.waitUntil(lambda: panel.sampler._active is None, timeout=PATIENCE)
    shutil.rmtree(images)
    blocked(qtbot, panel, panel.next)
    assert "the folder is gone" in said[-1]
    assert panel.current == NAMES[0]
    assert panel.open_image.snapshot() is not None
    assert not images.exists(), "it is not made again below the place of a drive"
    assert {item.state for item in panel.work.items().values()} == {"not started"}
    # Another folder: the first press says that the annotation is not saved, the next leaves it.
    other = tmp_path / "others"
    other.mkdir()
    shutil.copy(blob_folders[0] / "blob_009.png", other)
    panel.form.folder.setText(str(other))
    wait_for(qtbot, panel, "blob_009.png", panel.open_folder)
    assert "stays in the viewer" in late[-1]
    assert layer in viewer.layers
    np.testing.assert_array_equal(layer.data, mask)


def test_a_missing_folder_without_an_annotation_is_reported_once(
    qtbot: Any, queue: Open, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = listen_to(monkeypatch, "worklist.panel.show_error")
    _, panel = queue(wait=False)
    panel.form.output.setText(str(tmp_path / "out"))
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    qtbot.waitUntil(lambda: panel.sampler._active is None, timeout=PATIENCE)
    shutil.rmtree(images)
    panel.sampler._cache.clear()
    blocked(qtbot, panel, panel.next)
    assert len(said) == 1
    assert str(images) in said[0]
    assert panel.work is not None
    states = {item.state for item in panel.work.items().values()}
    assert states == {"not started"}, "no image is flagged for it"


# --- learning -----------------------------------------------------------------------------


def test_learning_on_a_full_disk_fails_with_a_message_and_can_resume(
    real_disk: RealDisk,
    qtbot: Any,
    opened: Callable[[], tuple[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(real_disk.folder))
    _, panel = opened()
    out = real_disk.folder / "models" / "mine"

    def fill(*_: object) -> None:
        if (out / "training" / "checkpoint.safetensors").exists():
            real_disk.fill()

    each_step = "training.checkpoint_minutes=0.000001"
    panel.overrides = (*panel.overrides, "training.flow.epochs=10", each_step)
    monkeypatch.setattr(panel, "_on_event", before(panel._on_event, fill))
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    assert "the disk is full" in panel.form.status.text()
    assert panel.form.resume.isEnabled()
    monkeypatch.undo()
    monkeypatch.setenv(HOME_VARIABLE, str(real_disk.folder))
    real_disk.repair()
    assert ending_of(qtbot, panel, panel.form.resume.click) == "done"
    assert (out / "model.json").is_file()


def before(genuine: Callable[..., None], act: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        act()
        genuine(*args)

    return call


def test_learning_in_an_unwritable_folder_fails_with_a_message(
    qtbot: Any,
    opened: Callable[[], tuple[Any, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").write_text("in the way")
    _, panel = opened()
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    assert "Cannot write" in panel.form.status.text()
    assert panel.form.start.isEnabled()
