"""An annotation that was not exported is offered before any run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.keeper import BANNER
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, run

Open = Callable[..., tuple[Any, LatentFMPanel]]


@pytest.fixture
def left_behind(opened: Open, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Annotate in a window that never exports; return the labels."""
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 50)
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    panel.review.annotation.take_mean_mask()
    qtbot.waitUntil(lambda: panel.foot.kept.text().startswith("Autosaved"), timeout=PATIENCE)
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    return np.array(layer.data)


def banner(panel: LatentFMPanel) -> Any:
    """Return napari's dock across the top of the window, or None."""
    docks = panel.window().findChildren(object, BANNER)
    return docks[0] if docks and docks[0].isVisible() else None


def test_it_is_offered_when_the_image_is_opened_and_recovered_after_a_run(
    left_behind: np.ndarray, opened: Open, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(255 - disc_image(), name="other")
    qtbot.waitUntil(lambda: not panel.review.annotation.autosaver.work.busy, timeout=PATIENCE)
    assert banner(panel) is None
    viewer.add_image(disc_image(), name="photo")
    qtbot.waitUntil(lambda: banner(panel) is not None, timeout=PATIENCE)
    assert panel.session.current is None
    (recover,) = [b for b in banner(panel).findChildren(QPushButton) if b.text() == "Recover"]
    qtbot.mouseClick(recover, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "photo · annotation" in viewer.layers, timeout=PATIENCE)
    qtbot.waitUntil(lambda: banner(panel) is None, timeout=PATIENCE)
    np.testing.assert_array_equal(viewer.layers["photo · annotation"].data, left_behind)


def test_it_is_offered_when_the_dock_is_opened_after_the_image(
    left_behind: np.ndarray, make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(disc_image(), name="photo")
    panel = open_dock(viewer)
    qtbot.waitUntil(lambda: banner(panel) is not None, timeout=PATIENCE)
    offer = panel.review.annotation.recovery.offer
    assert offer is not None
    np.testing.assert_array_equal(offer.labels, left_behind)
    viewer.layers.remove("photo")
    qtbot.waitUntil(lambda: banner(panel) is None, timeout=PATIENCE)
