"""Strokes painted in a real window, and samples that follow them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QObject

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.review.stroke_layer import painted_strokes, stroke_layer
from napari_latentfm.review.stroke_watch import StrokeWatch
from napari_latentfm.review.strokes_section import StrokesSection
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.plugin_fixtures import PATIENCE, GatedSegmenter, OpenPanel, gate, run


class Desk:
    """A viewer with a sampling panel, samples of a disc under review, and the section."""

    def __init__(self, qtbot: Any, viewer: Any, panel: SamplingPanel, image: np.ndarray) -> None:
        self.qtbot, self.viewer, self.panel = qtbot, viewer, panel
        self.image = viewer.add_image(image, rgb=True, name="a")
        assert run(qtbot, panel) == "done"
        self.section = StrokesSection(panel._session)
        viewer.window.add_dock_widget(self.section, name="correct")
        self.endings: list[str] = []
        self.section.finished.connect(self.endings.append)

    @property
    def strokes(self) -> Labels:
        layer = stroke_layer(self.panel._session)
        assert layer is not None
        return layer

    def stroke(self, rows: range, column: int) -> None:
        """Draw a line with napari's brush."""
        layer = self.viewer.layers.selection.active
        assert layer.mode == "paint"
        with layer.block_history():
            for row in rows:
                layer.paint((row, column), layer.selected_label)

    def wait(self, count: int = 1) -> str:
        self.qtbot.waitUntil(lambda: len(self.endings) >= count, timeout=PATIENCE)
        return self.endings[-1]

    def samples(self) -> np.ndarray:
        return np.asarray(self.viewer.layers["a · samples"].data)


@pytest.fixture
def desk(qtbot: Any, docked_panel: OpenPanel, blob_image: np.ndarray) -> Desk:
    viewer, panel = docked_panel()
    return Desk(qtbot, viewer, panel, blob_image)


def test_samples_follow_a_stroke(desk: Desk) -> None:
    before = desk.samples().copy()
    desk.section.brushes.class_buttons[0].click()
    assert desk.viewer.layers.selection.active.name == "a · strokes"
    desk.stroke(range(26, 34), 60)
    said = desk.strokes.data == FOREGROUND
    assert said.sum() > 8
    assert not before[:, said].all()
    assert desk.wait() == "done"
    after = desk.samples().copy()
    assert after[:, said].all()
    assert (after != before)[:, ~said].any()
    assert desk.viewer.layers["a · mean mask"].data[said].all()
    np.testing.assert_array_equal(desk.viewer.layers["a · confidence"].data[said], 1)
    # The brush stays active for the next stroke.
    assert desk.viewer.layers.selection.active.name == "a · strokes"
    assert desk.strokes.mode == "paint"
    assert f"{said.sum()} painted pixels" in desk.section.status.text()
    desk.section.brushes.background_button.click()
    assert desk.strokes.selected_label == BACKGROUND
    desk.stroke(range(20, 40), 36)
    assert desk.wait(2) == "done"
    assert not desk.samples()[:, desk.strokes.data == BACKGROUND].any()
    assert (desk.samples() != after).any()
    # Without strokes, the samples are the first ones.
    desk.strokes.undo()
    assert desk.wait(3) == "done"
    desk.strokes.undo()
    assert desk.wait(4) == "done"
    np.testing.assert_array_equal(desk.samples(), before)


def test_only_the_plane_under_review_is_watched(qtbot: Any) -> None:
    owner, paused = QObject(), list[bool]()
    watch = StrokeWatch(owner)
    watch.timer.setInterval(0)
    watch.paused.connect(lambda: paused.append(True))
    layer = Labels(np.zeros((3, 8, 8), np.uint8))

    def stroke(plane: int, column: int) -> int:
        layer.data_setitem((np.array([plane]), np.array([2]), np.array([column])), 1)
        return pauses()

    def pauses() -> int:
        qtbot.waitUntil(lambda: not watch.timer.isActive(), timeout=PATIENCE)
        return len(paused)

    watch.follow(layer, (0, None, None))
    assert stroke(1, 2) == 0
    assert stroke(0, 2) == 1
    watch.follow(layer, (1, None, None))
    assert stroke(0, 3) == 1
    # A stroke that was left behind is noticed on return, also if only the slider has moved.
    watch.follow(layer, (0, None, None))
    layer.refresh()
    assert pauses() == 2
    layer.refresh()
    assert pauses() == 2
    watch.repeat()
    assert pauses() == 3


def test_samples_are_drawn_on_demand_if_the_section_does_not_follow(desk: Desk) -> None:
    before = desk.samples().copy()
    desk.section.watch.timer.setInterval(10)
    desk.section.follow.setChecked(False)
    desk.section.brushes.class_buttons[0].click()
    desk.stroke(range(26, 34), 60)
    desk.qtbot.wait(100)
    assert not desk.panel.job.busy
    np.testing.assert_array_equal(desk.samples(), before)
    desk.section.redraw_button.click()
    assert desk.wait() == "done"
    assert (desk.samples() != before).any()
    # The choice is kept after the section is closed.
    assert not StrokesSection(desk.panel._session).follow.isChecked()
    # Clear is one step.
    desk.section.brushes.background_button.click()
    desk.stroke(range(20, 40), 36)
    painted = desk.strokes.data.copy()
    desk.section.clear_button.click()
    assert painted_strokes(desk.panel._session) is None
    desk.strokes.undo()
    np.testing.assert_array_equal(desk.strokes.data, painted)


def redraw_to_first_step(desk: Desk) -> GatedSegmenter:
    """Paint a stroke, and wait for the first step of the gated run that follows it."""
    stand_in = gate(desk.panel)
    desk.panel.job.unload()
    desk.section.paint_foreground()
    desk.stroke(range(26, 34), 60)
    desk.section.redraw()
    stand_in.allow(1)
    desk.qtbot.waitUntil(lambda: stand_in.done == 1, timeout=PATIENCE)
    return stand_in


def test_cancelling_a_redraw_keeps_the_layers(desk: Desk) -> None:
    before = desk.samples().copy()
    stand_in = redraw_to_first_step(desk)
    desk.panel.form.cancel_button.native.click()
    stand_in.allow(1)
    assert desk.wait() == "cancelled"
    assert stand_in.closed.is_set()
    np.testing.assert_array_equal(desk.samples(), before)
    assert not desk.panel.job.busy
    assert desk.section.redraw_button.isEnabled()
    # A stroke during a run is not lost.
    desk.endings.clear()
    stand_in = redraw_to_first_step(desk)
    desk.stroke(range(10, 14), 60)
    desk.section.redraw()
    stand_in.allow(1)
    desk.qtbot.waitUntil(stand_in.closed.is_set, timeout=PATIENCE)
    stand_in.allow(500)
    assert desk.wait() == "done"
    assert desk.endings == ["done"]


def test_an_error_is_shown_and_the_section_stays_usable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_latentfm.review.strokes_section.show_error", shown.append)
    gate(desk.panel, error=MemoryError()).allow(1)
    desk.panel.job.unload()
    desk.section.redraw()
    assert desk.wait() == "failed"
    assert "memory" in shown[0]
    assert "memory" in desk.section.status.text()
    assert desk.section.redraw_button.isEnabled()


def test_closing_the_section_during_a_run_ends_it(desk: Desk) -> None:
    stand_in = gate(desk.panel)
    desk.panel.job.unload()
    desk.section.redraw()
    stand_in.allow(1)
    desk.qtbot.waitUntil(lambda: stand_in.done == 1, timeout=PATIENCE)
    before = desk.samples().copy()
    desk.viewer.window.remove_dock_widget(desk.section)
    desk.section.release()
    stand_in.allow(1)
    desk.qtbot.waitUntil(stand_in.closed.is_set, timeout=PATIENCE)
    desk.qtbot.waitUntil(lambda: not desk.panel.job.busy, timeout=PATIENCE)
    assert desk.endings == []
    np.testing.assert_array_equal(desk.samples(), before)


def test_removed_image_ends_the_correction(desk: Desk) -> None:
    desk.section.paint_foreground()
    desk.viewer.layers.remove(desk.image)
    assert not desk.section.isEnabled()
    desk.section.redraw()
    assert not desk.section.running


def test_an_image_of_another_shape_gets_one_layer_of_strokes(desk: Desk) -> None:
    """The result under review is of the earlier shape until the next run."""
    desk.image.data = np.zeros((40, 50, 3), np.uint8)
    layers = {desk.strokes.unique_id for _ in range(3)}
    assert len(layers) == 1
    assert desk.strokes.data.shape == desk.panel._session.current.plane.layer_shape
