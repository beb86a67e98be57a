"""Runs of the sampling panel that are cancelled, fail, or lose their image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.plugin_fixtures import (
    DOCK,
    PATIENCE,
    OpenPanel,
    Window,
    assert_idle,
    contents_of,
    gate,
    run,
    run_to_first_step,
    shown_errors,
)

pytestmark = pytest.mark.usefixtures("forget_notifications")


# --- cancel and errors --------------------------------------------------------------------


def test_cancelling_does_not_change_the_viewer(qtbot: Any, photo_window: Window) -> None:
    viewer, panel = photo_window
    run(qtbot, panel)
    before = contents_of(viewer)
    slow = gate(panel)
    # The warm model would be used instead of the slow one.
    panel.form.device.value = "auto"
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(2)
    status = panel.form.status
    qtbot.waitUntil(lambda: status.value.endswith(": Sampling, step 2 of 50"), timeout=PATIENCE)
    assert panel.form.progress.native.value() == 2
    assert not panel.form.n_samples.enabled
    panel.form.cancel_button.native.click()
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert slow.done <= 3
    assert contents_of(viewer) == before
    assert_idle(panel)


def test_a_failed_run_notifies_and_leaves_the_panel_idle(qtbot: Any, photo_window: Window) -> None:
    viewer, panel = photo_window
    failing = gate(panel, error=MemoryError())
    failing.allow(1)
    assert run(qtbot, panel) == "failed"
    assert_idle(panel)
    assert "Lower the number of samples" in str(panel.last_error)
    assert shown_errors() == [panel.last_error]
    assert panel.form.status.value.endswith(panel.last_error)
    assert len(viewer.layers) == 1


def test_a_folder_without_a_model_is_reported(
    qtbot: Any, photo_window: Window, tmp_path: Path
) -> None:
    _, panel = photo_window
    panel.form.model.choose(tmp_path)
    assert run(qtbot, panel) == "failed"
    assert "model.json" in str(panel.last_error)
    assert shown_errors() == [panel.last_error]
    assert_idle(panel)
    panel.form.model.folder.line.setText(" ")
    assert run(qtbot, panel) == "failed"
    assert "Choose the folder" in str(panel.last_error)


def test_a_run_without_an_image_fails_with_a_message(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    assert "Open an image first" in panel.form.status.value
    assert run(qtbot, panel) == "failed"
    assert "Open an image first" in str(panel.last_error)
    assert_idle(panel)
    # An error, and then success.
    viewer.add_image(blob_image, rgb=True)
    assert panel.form.image.value is not None
    assert run(qtbot, panel) == "done"
    assert panel.last_error is None


def test_odd_images_give_a_result_or_a_message(qtbot: Any, docked_panel: OpenPanel) -> None:
    viewer, panel = docked_panel()
    for pixels in (np.full((40, 40), np.nan), np.zeros((40, 40, 4, 2, 2)), np.full((1, 1), 3)):
        viewer.add_image(pixels, contrast_limits=(0, 1), rgb=False)
        ending = run(qtbot, panel)
        assert ending in ("done", "failed")
        if ending == "failed":
            assert "a bug in napari-latentfm" not in str(panel.last_error)
        assert_idle(panel)
        viewer.layers.clear()
    # A stack that is displayed in three dimensions.
    viewer.add_image(np.zeros((4, 40, 40), np.uint8))
    viewer.dims.ndisplay = 3
    assert run(qtbot, panel) == "failed"
    assert "2D/3D button" in str(panel.last_error)


# --- what happens around a run ------------------------------------------------------------


def test_removing_the_image_stops_its_run(
    qtbot: Any, photo_window: Window, blob_image: np.ndarray
) -> None:
    viewer, panel = photo_window
    viewer.add_image(blob_image, rgb=True, name="b")
    panel.form.image.value = viewer.layers["a"].__wrapped__
    slow, endings = run_to_first_step(qtbot, panel)
    viewer.layers.remove("a")
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert slow.done <= 2
    assert [layer.name for layer in viewer.layers] == ["b"]
    assert panel.form.status.value == "b: ready."
    assert_idle(panel)


def test_an_image_that_changed_size_does_not_get_the_old_result(
    qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray
) -> None:
    viewer, panel = docked_panel()
    layer = viewer.add_image(blob_image, rgb=True, name="a")
    slow, endings = run_to_first_step(qtbot, panel, total=2)
    layer.data = blob_image[:20, :20]
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["failed"]
    assert "changed during the run" in str(panel.last_error)
    assert len(viewer.layers) == 1


def test_closing_the_dock_cancels(qtbot: Any, photo_window: Window) -> None:
    viewer, panel = photo_window
    slow, _ = run_to_first_step(qtbot, panel)
    job = panel.job
    viewer.window.remove_dock_widget(panel)
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert slow.done <= 2
    assert slow.closed.is_set()
    assert len(viewer.layers) == 1
    assert_idle(panel)


def test_hiding_the_dock_does_not_cancel(qtbot: Any, photo_window: Window) -> None:
    _, panel = photo_window
    slow = gate(panel, total=3)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(1)
    panel.parent().hide()
    slow.allow(2)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]


def test_closing_the_window_cancels(qtbot: Any, photo_window: Window) -> None:
    viewer, panel = photo_window
    slow, _ = run_to_first_step(qtbot, panel)
    job = panel.job
    viewer.close()
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    qtbot.wait(50)
    assert slow.done <= 2
    assert shown_errors() == []


def test_deleting_the_panel_cancels(qtbot: Any, photo_window: Window) -> None:
    """Without napari's own help: an older napari does not know of the worker."""
    _, panel = photo_window
    slow, _ = run_to_first_step(qtbot, panel)
    job = panel.job
    gone: list[bool] = []
    panel.destroyed.connect(lambda: gone.append(True))
    panel.deleteLater()
    qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert slow.done <= 2


def test_model_stays_warm_when_the_panel_is_opened_again(
    qtbot: Any, photo_window: Window, tiny_model_folder: Path
) -> None:
    viewer, panel = photo_window
    run(qtbot, panel)
    viewer.window.remove_dock_widget(panel)
    again = SamplingPanel(viewer)
    viewer.window.add_dock_widget(again, name=DOCK)
    again.form.model.choose(tiny_model_folder)
    again.form.device.value = "cpu"
    again.job.load = lambda *_: pytest.fail("loaded again")
    assert run(qtbot, again) == "done"
