"""All tabs of the review panel on samples of a real run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from app_model.types import KeyBinding
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QScrollArea, QTableWidget

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of
from napari_latentfm.review.panel import ReviewPanel
from napari_latentfm.review.stroke_layer import stroke_layer
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.looks import LARGE, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, run


class Window:
    """A viewer with the sampling panel, the review panel, and samples under review."""

    def __init__(
        self,
        qtbot: Any,
        viewer: Any,
        panel: SamplingPanel,
        image: np.ndarray,
        position: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        self.qtbot, self.viewer, self.sampling = qtbot, viewer, panel
        self.review = ReviewPanel(viewer)
        viewer.window.add_dock_widget(self.review, name="Review")
        self.image = viewer.add_image(image, rgb=image.shape[-1] == 3, name="a")
        for axis, at in enumerate(position):
            viewer.dims.set_current_step(axis, at)
        panel.form.seed.value = seed
        assert run(qtbot, panel) == "done"
        self.settle()

    def settle(self) -> None:
        hypotheses, regions = self.review.hypotheses, self.review.regions
        self.qtbot.waitUntil(
            lambda: bool(hypotheses.hypotheses) and "Looking" not in regions.status.text(),
            timeout=PATIENCE,
        )

    def press(self, key: str) -> None:
        """Call the function that the viewer binds to a key."""
        self.viewer.keymap[KeyBinding.from_str(key)](self.viewer)


@pytest.fixture
def window(
    qtbot: Any, docked_panel: Callable[..., tuple[Any, SamplingPanel]], blob_image: np.ndarray
) -> Window:
    viewer, panel = docked_panel()
    panel.form.n_samples.value = 6
    return Window(qtbot, viewer, panel, blob_image)


def test_samples_become_an_annotation_using_only_keys(window: Window) -> None:
    window.press("H")
    window.press("W")
    layer = annotation_of(window.review.session)
    assert layer is not None
    medoid = window.review.hypotheses.hypotheses[0].medoid
    np.testing.assert_array_equal(layer.data, window.viewer.layers["a · samples"].data[medoid])
    window.press("Shift-M")
    np.testing.assert_array_equal(layer.data, window.viewer.layers["a · mean mask"].data)
    window.press("G")
    strokes = stroke_layer(window.review.session)
    assert strokes is not None
    assert (strokes.mode, strokes.selected_label) == ("paint", 2)
    # The annotation was written in steps that can be undone one by one.
    layer.undo()
    layer.undo()
    assert not layer.data.any()
    # A stroke updates every tab.
    before = window.review.hypotheses._result
    endings: list[str] = []
    window.review.strokes.finished.connect(endings.append)
    with strokes.block_history():
        strokes.data_setitem(np.nonzero(np.eye(60, 80, 30, bool)), 2)
    window.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]
    window.settle()
    assert window.review.hypotheses._result is not before
    window.press("Shift-M")
    assert layer.data[strokes.data == 2].all()


def test_keys_differ_between_tabs_and_are_released_with_the_panel(window: Window) -> None:
    review = window.review
    tabs = (review.hypotheses, review.regions, review.strokes, review.fix, review.annotation)
    keys = [KeyBinding.from_str(key) for tab in tabs for key in tab.key_actions()]
    assert len(set(keys)) == len(keys)
    assert all(key in window.viewer.keymap for key in keys)
    window.viewer.window.remove_dock_widget(review)
    assert KeyBinding.from_str("H") not in window.viewer.keymap
    window.viewer.window.add_dock_widget(review, name="Review")
    assert KeyBinding.from_str("H") in window.viewer.keymap


def test_choices_are_saved_and_those_of_an_opened_annotation_restored(
    window: Window, qtbot: Any
) -> None:
    assert SamplingPanel(window.viewer).form.n_samples.value == 6
    window.review.hypotheses.contours.shown.setChecked(True)
    again = ReviewPanel(window.viewer)
    qtbot.addWidget(again)
    assert again.hypotheses.contours.shown.isChecked()
    again.release()
    window.review.session.recalled.emit({"n_samples": 5, "seed": 77, "steps": 3, "solver": "heun"})
    form = window.sampling.form
    assert (form.n_samples.value, form.seed.value) == (5, 77)
    assert (form.steps.value, form.solver.value) == (3, "heun")


@pytest.mark.styled
def test_every_control_has_a_tooltip_and_fits_a_small_screen(window: Window) -> None:
    window.review.window().resize(1280, 720)
    for kind in (QAbstractButton, QComboBox, QTableWidget):
        for control in window.review.findChildren(kind):
            own = not control.objectName().startswith("qt_") and control.parent() is not None
            if (
                own
                and getattr(control, "text", lambda: "x")()
                and control.isVisibleTo(window.review)
            ):
                assert control.toolTip() or control.parent().toolTip(), control
    for place in range(window.review.count()):
        window.review.setCurrentIndex(place)
        area = window.review.widget(place)
        assert isinstance(area, QScrollArea)
        assert area.widget().minimumSizeHint().width() <= 310
    bar = window.review.tabBar()
    assert [window.review.tabText(i) for i in range(bar.count())] == [
        "Point",
        "Compare",
        "Uncertain regions",
        "Correct",
        "Fix",
        "Accept",
    ]


def test_reviewed_regions_are_in_the_provenance(window: Window) -> None:
    regions = window.review.regions
    masks = np.stack([disc(*LARGE)] * 10)
    masks[:4] |= disc(10, 70, 5)
    window.review.session.show(reviewed(window.image, window.viewer, masks))
    window.qtbot.waitUntil(lambda: len(regions.regions) == 1, timeout=PATIENCE)
    window.press("Shift-M")
    regions.table.item(0, 0).setCheckState(Qt.CheckState.Checked)
    layer = annotation_of(window.review.session)
    assert layer is not None
    facts = facts_of(layer)
    assert facts is not None
    assert [region["area"] for region in facts.resolved] == [regions.regions[0].area]


def test_two_windows_are_independent(
    window: Window, docked_panel: Callable[..., tuple[Any, SamplingPanel]]
) -> None:
    viewer, _ = docked_panel()
    other = ReviewPanel(viewer)
    viewer.window.add_dock_widget(other, name="Review")
    assert other.session is not window.review.session
    assert not other.hypotheses.isEnabled()
    window.press("Shift-M")
    assert len(viewer.layers) == 0


def test_a_deleted_panel_receives_no_more_signals(window: Window, qtbot: Any) -> None:
    # What a closing window does to its panels, while Python still holds them.
    panels = (ReviewPanel(window.viewer), SamplingPanel(window.viewer))
    for panel in panels:
        panel.deleteLater()
    qtbot.waitUntil(lambda: not any(isalive(panel) for panel in panels), timeout=PATIENCE)
    window.viewer.layers.remove(window.image)
    assert window.review.session.current is None
    assert not window.review.strokes.isEnabled()
    window.review.session.recalled.emit({"n_samples": 5})
    assert window.sampling.form.n_samples.value == 5
