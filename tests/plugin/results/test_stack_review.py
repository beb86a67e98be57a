"""Review of a stack: its planes are reviewed one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.layers.edits import EditedLayers
from napari_latentfm.review.sections import ReviewSections
from napari_latentfm.review.stroke_layer import stroke_layer
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.pictures import grey_stack
from tests.helpers.plugin_fixtures import PATIENCE, OpenDock, run

ROLES = ("mean probability", "confidence", "samples", "mean mask")


@pytest.fixture
def reviewing(qtbot: Any, opened_dock: OpenDock) -> tuple[Any, SamplingPanel, ReviewSections]:
    viewer, dock = opened_dock()
    panel = dock.sampling
    viewer.add_image(grey_stack(), name="scan")
    panel.form.plane_choice.planes.value = "0"
    viewer.dims.set_current_step(0, 1)
    assert run(qtbot, panel) == "done"
    return viewer, panel, dock.review


def _settle(qtbot: Any, review: ReviewSections) -> None:
    qtbot.waitUntil(
        lambda: (
            bool(review.hypotheses.hypotheses) and "Looking" not in review.regions.status.text()
        ),
        timeout=PATIENCE,
    )


def test_the_slider_selects_the_plane_under_review(qtbot: Any, reviewing: Any) -> None:
    viewer, _, review = reviewing
    seen: list[Any] = []
    review.session.changed.connect(lambda: seen.append(review.session.current))
    assert review.session.current.plane.index == (1, None, None)
    step = list(viewer.dims.current_step)
    for place in (2, 0):
        # The last but two axes: the samples have an axis in front.
        step[-3] = place
        viewer.dims.current_step = tuple(step)
        assert review.session.current.plane.index == (place, None, None)
        _settle(qtbot, review)
        review.annotation.take_mean_mask()
        wanted = viewer.layers["scan · mean mask"].data[place]
        layer = annotation_of(review.session)
        np.testing.assert_array_equal(layer.data[place], wanted)
    assert not annotation_of(review.session).data[1].any()
    # The slider of the samples changes nothing.
    viewer.dims.set_current_step(0, 2)
    assert len(seen) == 2
    viewer.layers.remove("scan")
    viewer.dims.set_current_step(1, 2)
    assert review.session.current is None
    assert review.session.stack is None


def test_strokes_update_only_their_plane(qtbot: Any, reviewing: Any) -> None:
    viewer, panel, review = reviewing
    before = {role: viewer.layers[f"scan · {role}"].data.copy() for role in ROLES}
    names = [layer.name for layer in viewer.layers]
    # Otherwise a slow machine starts another redraw when the slider moves.
    review.strokes.follow.setChecked(False)
    strokes = stroke_layer(review.session)
    strokes.data[1, 2:6, 2:6] = 2
    endings: list[str] = []
    review.strokes.finished.connect(endings.append)
    review.strokes.redraw()
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]
    assert [layer.name for layer in viewer.layers][: len(names)] == names
    assert (viewer.layers["scan · samples"].data[:, 1, 2:6, 2:6] == 1).all()
    for role in ROLES:
        now = viewer.layers[f"scan · {role}"].data
        keep = [0, 2]
        np.testing.assert_array_equal(
            np.take(now, keep, axis=-3), np.take(before[role], keep, axis=-3)
        )
    assert review.session.current.result.samples.strokes is not None
    # Away and back again: the plane is still the corrected one, and a rerun asks about nothing.
    viewer.dims.set_current_step(1, 0)
    assert review.session.current.result.samples.strokes is None
    viewer.dims.set_current_step(1, 1)
    assert review.session.current.result.samples.strokes is not None
    # So it is after another image, and so are the figures of the stack.
    stack = review.session.stack
    review.session.show(None)
    review.session.follow(stack)
    current = review.session.current.result
    assert current.samples.strokes is not None
    assert current.summary.mean_mask[2:6, 2:6].all()
    shown = viewer.layers["scan · mean mask"].data
    np.testing.assert_array_equal(stack.run.summary.mean_mask, shown)
    assert f"Mean mask: {(shown > 0).mean():.1%} of the image" in panel.form.status.value
    panel.ask_about_edits = lambda names: pytest.fail(f"asked about {names}")
    assert run(qtbot, panel) == "done"
    # Only an edit of this very plane is asked about before strokes renew it.
    mine = viewer.layers["scan · mean mask"]
    mine.fill((0, 0, 0), 3)
    mine.fill((1, 0, 0), 3)
    edited = mine.data.copy()
    asked: list[Any] = []
    review.strokes.ask_about_edits = lambda names: asked.append(list(names)) or EditedLayers.KEEP
    review.strokes.redraw()
    qtbot.waitUntil(lambda: len(endings) == 2, timeout=PATIENCE)
    assert asked == [["scan · mean mask"]]
    np.testing.assert_array_equal(mine.data, edited)
    assert (viewer.layers["scan · samples"].data[:, 1, 2:6, 2:6] == 1).all()
    viewer.dims.set_current_step(1, 0)
    review.strokes.redraw()
    qtbot.waitUntil(lambda: len(endings) == 3, timeout=PATIENCE)
    assert asked == [["scan · mean mask"]] * 2
