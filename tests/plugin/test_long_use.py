"""Many images and cancelled runs in one window leave nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.long_use import cancel_runs, work_through
from napari_latentfm.review.panel import ReviewPanel
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.fixtures import Folders
from tests.helpers.plugin_fixtures import PATIENCE, disc_image


def test_long_use_does_not_leak_threads_layers_or_callbacks(
    make_napari_viewer: Any,
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    qtbot: Any,
) -> None:
    pictures = sorted(blob_folders[0].iterdir())[:12]
    for picture in pictures:
        shutil.copy(picture, tmp_path)
    viewer = make_napari_viewer()
    review, queue = ReviewPanel(viewer), QueuePanel(viewer)
    viewer.window.add_dock_widget(review, name="Review")
    viewer.window.add_dock_widget(queue, name="Queue")
    queue.form.model.choose(tiny_model_folder)
    queue.form.n_samples.setValue(3)
    queue.form.folder.setText(str(tmp_path))

    def wait(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=PATIENCE)

    # Counted after images without strokes, whose layer would make a difference.
    early, middle, late = work_through(viewer, queue, review, len(pictures) - 1, wait, every=5)[-3:]
    assert len(list((tmp_path / "latentfm_annotations").glob("*.tif"))) == len(pictures) - 1
    assert (early.images, middle.images, late.images) == (5, 10, 11)
    for count in ("threads", "layers", "callbacks", "widgets", "kept_layers"):
        assert getattr(late, count) <= getattr(early, count), count
        assert getattr(middle, count) <= getattr(early, count), count


def test_cancelled_runs_do_not_change_the_viewer(
    docked_panel: Callable[..., Any], qtbot: Any
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(disc_image(), name="photo")

    def wait(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=PATIENCE)

    panel.form.steps.value = 64  # so long that most runs are still in progress when cancelled
    ends = cancel_runs(viewer, panel, 10, seconds=0.2, wait=wait)
    assert (ends["failed"], ends["changed"]) == (0, 0)
    assert ends["cancelled"] == 10
