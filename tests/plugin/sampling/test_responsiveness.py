"""The window stays responsive during a run on a large image."""

from __future__ import annotations

import threading
from typing import Any

import napari.layers.labels.labels as napari_labels
import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer

from napari_latentfm.background import image_request, job, turns
from napari_latentfm.layers.edits import is_result
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel, Window, assert_idle, contents_of, run

SHAPE = (1100, 1300, 3)


def photograph() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 60, SHAPE, dtype=np.uint8)
    pixels[300:800, 400:900] += 150
    return pixels


class AnsweredKey(QObject):
    """Records when the event loop delivers an event, as it would a key that the user presses."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def event(self, event: QEvent) -> bool:
        self._log.append("answer")
        return True


@pytest.fixture
def large_window(docked_panel: OpenPanel) -> Window:
    """A window with the panel and a large photograph."""
    viewer, panel = docked_panel()
    viewer.add_image(photograph(), rgb=True)
    return viewer, panel


@pytest.mark.styled
def test_outlines_are_computed_only_for_the_drawn_level(
    qtbot: Any, docked_panel: OpenPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    real = napari_labels.get_contours

    def watched(labels: np.ndarray, *args: Any) -> np.ndarray:
        seen.append(labels.shape)
        return real(labels, *args)

    monkeypatch.setattr(napari_labels, "get_contours", watched)
    viewer, panel = docked_panel(show=True)
    viewer.add_image(photograph(), rgb=True)
    assert run(qtbot, panel) == "done"
    qtbot.waitUntil(lambda: bool(seen))
    assert max(height * width for height, width in seen) < SHAPE[0] * SHAPE[1] / 2


def test_the_worker_measures_the_mean_mask(
    qtbot: Any, docked_panel: OpenPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    real = image_request.mask_figures

    def watched(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return real(*args)

    monkeypatch.setattr(image_request, "mask_figures", watched)
    viewer, panel = docked_panel()
    viewer.add_image(photograph(), rgb=True, scale=(0.5, 0.25), units=("um", "um"))
    assert run(qtbot, panel) == "done"
    assert "of the image" in panel.form.status.value or "No " in panel.form.status.value
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_window_responds_between_the_layers(
    qtbot: Any, large_window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fast machine adds several layers in one turn otherwise.
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    viewer, panel = large_window
    log: list[str] = []
    key = AnsweredKey(log)

    def press(event: Any) -> None:
        log.append("layer")
        QCoreApplication.postEvent(key, QEvent(QEvent.Type.User))

    viewer.layers.events.inserted.connect(press)
    assert run(qtbot, panel) == "done"
    qtbot.waitUntil(lambda: log.count("answer") == 4)
    assert log == ["layer", "answer"] * 4
    shown = {layer.metadata["latentfm"]["role"]: layer.visible for layer in viewer.layers[1:]}
    assert shown == {
        "mean_probability": False,
        "confidence": True,
        "samples": True,
        "mean_mask": True,
    }


def test_cancelling_while_layers_are_shown_removes_them(qtbot: Any, large_window: Window) -> None:
    viewer, panel = large_window
    count = [0]

    def cancel(event: Any) -> None:
        if is_result(event.value):
            count[0] += 1
            if count[0] == 2:
                # What the user adds meanwhile stays.
                QTimer.singleShot(0, lambda: viewer.add_points([[3, 4]], name="mine"))
                panel.form.cancel_button.native.click()

    viewer.layers.events.inserted.connect(cancel)
    assert run(qtbot, panel) == "cancelled"
    assert count == [2]
    qtbot.waitUntil(lambda: "mine" in [layer.name for layer in viewer.layers])
    assert not any(is_result(layer) for layer in viewer.layers)
    assert_idle(panel)


def test_cancelling_while_layers_are_shown_keeps_the_selection(
    qtbot: Any, docked_panel: OpenPanel
) -> None:
    viewer, panel = docked_panel()
    image = viewer.add_image(photograph(), rgb=True)
    viewer.layers.events.inserted.connect(lambda _event: panel.form.cancel_button.native.click())
    assert run(qtbot, panel) == "cancelled"
    assert [layer.name for layer in viewer.layers] == [image.name]
    assert viewer.layers.selection.active is not None
    assert viewer.layers.selection.active.name == image.name


def test_cancelling_while_layers_are_updated_restores_them(
    qtbot: Any, large_window: Window
) -> None:
    viewer, panel = large_window
    assert run(qtbot, panel) == "done"
    before = contents_of(viewer)
    panel.form.seed.value = 99
    confidence = next(x for x in viewer.layers if x.name.endswith("confidence"))
    confidence.events.data.connect(lambda: panel.cancel())
    assert run(qtbot, panel) == "cancelled"
    assert contents_of(viewer) == before


def test_every_phase_is_shown(
    qtbot: Any, large_window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The small model needs less than the usual pause between two updates for some phases.
    monkeypatch.setattr(job, "FIRST_MS", 0)
    monkeypatch.setattr(job, "PROGRESS_MS", 0)
    viewer, panel = large_window
    output: list[str] = []
    real = panel.job.start

    def start(request: Any) -> Any:
        begun = real(request)
        begun.progressed.connect(lambda update: output.append(update.text))
        return begun

    panel.job.start = start
    viewer.layers.events.inserted.connect(lambda _event: output.append(panel.form.status.value))
    assert run(qtbot, panel) == "done"
    for words in ("Reading", "Sampling, step", "Summarising", "Measuring", "showing"):
        assert any(words in text for text in output), words


def test_the_image_can_be_removed_while_its_layers_are_shown(
    qtbot: Any, docked_panel: OpenPanel
) -> None:
    viewer, panel = docked_panel()
    layer = viewer.add_image(photograph(), rgb=True)
    other = viewer.add_image(photograph(), rgb=True, name="other", visible=False)
    panel.form.image.value = layer

    def go(event: Any) -> None:
        if is_result(event.value):
            QTimer.singleShot(0, lambda: layer in viewer.layers and viewer.layers.remove(layer))

    viewer.layers.events.inserted.connect(go)
    assert run(qtbot, panel) == "cancelled"
    qtbot.waitUntil(lambda: list(viewer.layers) == [other], timeout=PATIENCE)
    assert_idle(panel)
