"""Leaving and accepting an image whose proposals are not all in the annotation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile
from qtpy.QtCore import Qt

from latentfm_core.annotation.export import sidecar_path
from tests.helpers.plugin_fixtures import PATIENCE
from tests.plugin.dock.conftest import NAMES, Bench


def boxed(bench: Bench, *corners: float) -> None:
    """Draw boxes on the open image, each for an object of its own, and wait for the outlines."""
    panel = bench.panel
    for number, corner in enumerate(corners, 1):
        bench.press(bench.canvas, Qt.Key.Key_B)
        if number > 1:
            panel.point.tools.new_object()
        boxes = bench.viewer.layers.selection.active
        boxes.add_rectangles(np.array([[corner, corner], [corner + 20, corner + 20]]))
        outlined(bench, number)


def outlined(bench: Bench, count: int) -> None:
    """Wait until a number of objects have an outline."""
    form = bench.panel.point.form

    def are_outlined() -> bool:
        states = [row.state for row in form.objects.rows]
        return states == ["proposed"] * count and not bench.panel.point._runner.busy

    bench.qtbot.waitUntil(are_outlined, timeout=PATIENCE)


def test_objects_that_were_not_taken_come_back_with_their_image(
    bench: Bench, promptable_model_folder: Path
) -> None:
    panel = bench.panel
    panel.sampling.form.folder.value = promptable_model_folder
    panel.tabs.setCurrentWidget(panel.annotate)
    boxed(bench, 5.0, 35.0)
    before = [one.prompt for one in panel.point._book.all(bench.layer)]
    bench.press(bench.canvas, Qt.Key.Key_PageDown)
    bench.wait_for(NAMES[1])
    assert "2 objects were not taken" in panel.foot.message.text()
    assert not panel.point.form.objects.rows
    bench.press(bench.canvas, Qt.Key.Key_PageUp)
    bench.wait_for(NAMES[0])
    outlined(bench, 2)
    assert [one.prompt for one in panel.point._book.all(bench.layer)] == before
    assert "not taken" not in panel.foot.message.text()
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert "not taken" not in panel.foot.message.text(), "Enter took both"
    assert set(np.unique(tifffile.imread(bench.file(NAMES[0])))) == {0, 1, 2}


def test_outlines_beside_the_mask_of_a_later_run_are_not_accepted_unseen(
    bench: Bench, promptable_model_folder: Path
) -> None:
    panel = bench.panel
    panel.sampling.form.folder.value = promptable_model_folder
    panel.tabs.setCurrentWidget(panel.annotate)
    boxed(bench, 5.0)
    with bench.qtbot.waitSignal(panel.sampling.finished, timeout=PATIENCE):
        panel.run_model()
    current = panel.session.current
    assert current is not None
    assert current.label is None
    bench.press(bench.canvas)
    assert "Object 1 is not in the annotation yet" in panel.foot.message.text()
    assert bench.item(NAMES[0]).state == "not started"
    bench.click(panel.point.form.take_all_button)
    bench.qtbot.waitUntil(
        lambda: panel.point.form.objects.rows[0].state == "taken", timeout=PATIENCE
    )
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    assert bench.item(NAMES[0]).state == "completed"


def test_what_was_painted_on_the_mean_mask_is_accepted_and_counts_as_edited(bench: Bench) -> None:
    current = bench.panel.session.current
    assert current is not None
    proposed = current.result.summary.mean_mask.copy()
    bench.mean_mask.data_setitem((np.full(10, 2), np.arange(10)), 1)
    np.testing.assert_array_equal(current.result.summary.mean_mask, proposed)
    assert not proposed[2, :10].any()
    bench.press(bench.canvas)
    bench.wait_for(NAMES[1])
    file = bench.file(NAMES[0])
    assert tifffile.imread(file)[2, :10].all()
    (proposal,) = json.loads(sidecar_path(file).read_text("utf-8"))["proposals"]
    assert proposal["origin"] == "mean mask"
    assert proposal["edited_pixels"] == 10
