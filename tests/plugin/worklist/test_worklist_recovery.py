"""Recovery of autosaved work in a work list, whichever panel is open."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.images.read import read_image
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.widgets import RecoveryBar
from napari_latentfm.results.session import session_of
from napari_latentfm.worklist.table import UNSAVED
from tests.helpers.annotations import info
from tests.helpers.plugin_fixtures import PATIENCE
from tests.plugin.worklist.test_worklist_panel import (
    NAMES,
    Open,
    annotate,
    cell,
    images,
    queue,
    wait_for,
)

__all__ = ["images", "queue"]


def banner(viewer: Any) -> RecoveryBar | None:
    """Return the banner across the top of the window, if one is shown."""
    window = viewer.window._qt_window
    bars = [dock.findChild(RecoveryBar) for dock in window.findChildren(QDockWidget)]
    return next((bar for bar in bars if bar is not None and bar.isVisible()), None)


@pytest.fixture
def crashed(queue: Open, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Annotate in a window without accepting; return the labels."""
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 100)
    viewer, _ = queue()
    mask = annotate(viewer, 9)
    store = AutosaveStore(autosave_folder())
    qtbot.waitUntil(lambda: bool(store.images()), timeout=PATIENCE)
    return mask


def test_work_recovered_from_a_crash_is_offered_and_marked(
    crashed: np.ndarray, queue: Open, qtbot: Any
) -> None:
    viewer, panel = queue(wait=False)
    viewer.window.show()
    notification_manager.records.clear()
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    qtbot.waitUntil(lambda: banner(viewer) is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: UNSAVED in cell(panel, NAMES[0], "State"), timeout=PATIENCE)
    assert UNSAVED not in cell(panel, NAMES[1], "State")
    output = [text for text in warnings_shown() if "autosaved" in text]
    question = "Unsaved annotation of blob_000.png, autosaved "
    assert any(text.startswith(question) and "top of the window" in text for text in output)
    assert not any(", 0 " in text for text in output), "zeros are left out"
    message = f"1 image has unsaved work to recover: {NAMES[0]}."
    qtbot.waitUntil(lambda: message in warnings_shown(), timeout=PATIENCE)
    # It is not lost by painting beside it, and nothing is accepted before it is answered.
    annotate(viewer, 3)
    wait_for(qtbot, panel, NAMES[1], panel.next)
    qtbot.waitUntil(lambda: banner(viewer) is None, timeout=PATIENCE)
    wait_for(qtbot, panel, NAMES[0], panel.previous)
    qtbot.waitUntil(lambda: banner(viewer) is not None, timeout=PATIENCE)
    for accept in (panel.accept, panel.accept_empty):
        panel.form.status.setText("")
        accept()
        assert "Recover, compare or discard it first" in panel.form.status.text()
    bar = banner(viewer)
    assert bar is not None
    assert bar.window() is viewer.window._qt_window
    qtbot.mouseClick(bar.recover, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: banner(viewer) is None, timeout=PATIENCE)
    layer = annotation_of(session_of(viewer), create=False)
    assert layer is not None
    np.testing.assert_array_equal(layer.data, crashed)
    # Accepted, it is in a file of the list, and nothing is left to recover.
    wait_for(qtbot, panel, NAMES[1], panel.accept)
    qtbot.waitUntil(
        lambda: not panel.autosave.autosaver.work.busy and not autosave_images(), timeout=PATIENCE
    )


def test_a_replaced_image_that_was_accepted_is_named_and_measured_again(
    queue: Open, qtbot: Any, images: Path
) -> None:
    work = WorkList(images)
    for name in NAMES[:2]:
        signature = image_signature(read_image(work.path(name)).pixels)
        side = info((64, 64), image=name, image_signature=signature, created="2000-01-01T00:00:00")
        export_annotation(work.annotation(name), np.ones((64, 64), np.uint8), side)
        file = work.annotation(name).name
        work.update(name, state="completed", file=file, uncertainty=0.25, measured_with="x")
    shutil.copy(images / NAMES[2], images / NAMES[1])
    notification_manager.records.clear()
    _, panel = queue(wait=False)
    wait_for(qtbot, panel, NAMES[2], panel.open_folder)
    message = f"1 image was replaced or changed after being accepted: {NAMES[1]}."
    qtbot.waitUntil(lambda: any(message in text for text in warnings_shown()), timeout=PATIENCE)
    assert [cell(panel, name, "Uncertain") for name in NAMES[:2]] == ["25%", ""]
    assert work.kept(NAMES[1]) == work.annotation(NAMES[1])


def warnings_shown() -> list[str]:
    """Return the messages of all notifications so far."""
    return [str(record.message) for record in notification_manager.records]


def autosave_images() -> frozenset[str]:
    """Return the names of the images with an autosaved state."""
    return AutosaveStore(autosave_folder()).images()


def test_discarded_work_is_not_marked(crashed: np.ndarray, queue: Open, qtbot: Any) -> None:
    viewer, panel = queue(wait=False)
    viewer.window.show()
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    qtbot.waitUntil(lambda: banner(viewer) is not None, timeout=PATIENCE)
    bar = banner(viewer)
    assert bar is not None
    qtbot.mouseClick(bar.discard, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: banner(viewer) is None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: UNSAVED not in cell(panel, NAMES[0], "State"), timeout=PATIENCE)
