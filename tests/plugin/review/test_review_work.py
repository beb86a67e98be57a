"""Review work with real keys and mouse, recovery of work, and closing during a run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.correction.strokes import FOREGROUND
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.review.panel import ReviewPanel
from napari_latentfm.review.stroke_layer import stroke_layer
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.looks import LARGE, SHAPE, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, gate
from tests.plugin.review.test_regions_section import uncertain_samples
from tests.plugin.review.test_review_panel import Window

SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
PLAIN = Qt.KeyboardModifier.NoModifier

Open = Callable[..., Window]


@pytest.fixture
def open_window(
    qtbot: Any, docked_panel: Callable[..., tuple[Any, SamplingPanel]], blob_image: np.ndarray
) -> Open:
    def open_one(image: np.ndarray = blob_image, show: bool = False, **options: Any) -> Window:
        viewer, panel = docked_panel(show=show)
        return Window(qtbot, viewer, panel, image, **options)

    return open_one


def painted_by(window: Window, label: int, row: int = 26, column: int = 58) -> Labels:
    """Draw a stroke as the brush does, and wait for the samples."""
    endings: list[str] = []
    window.review.strokes.finished.connect(endings.append)
    press = window.review.strokes.paint_foreground
    press() if label == FOREGROUND else window.review.strokes.paint_background()
    layer = stroke_layer(window.review.session)
    assert layer is not None
    with layer.block_history():
        layer.data_setitem((np.arange(row, row + 8), np.full(8, column)), label)
    window.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]
    window.settle()
    return layer


# --- keys and mouse -----------------------------------------------------------------------


class Hands:
    """Presses keys where the focus is, and drags the mouse over the canvas."""

    def __init__(self, window: Window) -> None:
        self.window, self.qtbot = window, window.qtbot
        self.top = window.review.window()
        self.canvas = window.viewer.__wrapped__.window._qt_viewer.canvas.native
        with self.qtbot.waitActive(self.top, timeout=PATIENCE):
            self.top.activateWindow()

    def key(self, where: Any, key: Any, modifier: Any = PLAIN) -> None:
        where.setFocus()
        self.qtbot.waitUntil(where.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(where, key, modifier)

    def drag(self) -> None:
        left, middle = Qt.MouseButton.LeftButton, self.canvas.rect().center()
        self.qtbot.mousePress(self.canvas, left, pos=middle)
        for step in range(1, 5):
            self.qtbot.mouseMove(self.canvas, middle + QPoint(4 * step, 0))
            QApplication.processEvents()
        self.qtbot.mouseRelease(self.canvas, left, pos=middle + QPoint(16, 0))


def test_keys_work_with_any_focus(open_window: Open) -> None:
    window = open_window(show=True)
    hands, review = Hands(window), window.review
    review.session.show(reviewed(window.image, window.viewer, uncertain_samples()))
    window.settle()
    # A box or a table would keep letters to itself, to search what it lists.
    for widget in (hands.canvas, review.hypotheses.order, review.hypotheses.contours.shown):
        before = review.hypotheses.chosen
        hands.key(widget, Qt.Key.Key_H)
        assert review.hypotheses.chosen is not None
        if len(review.hypotheses.hypotheses) > 1:
            assert review.hypotheses.chosen is not before
        assert review.hypotheses.order.currentIndex() == 0
    review.setCurrentIndex(2)
    places = []
    for widget in (hands.canvas, review.regions.table, review.regions.next_button):
        hands.key(widget, Qt.Key.Key_N)
        places.append(review.regions.here)
    assert places == [1, 2, 1]
    hands.key(review.regions.table, Qt.Key.Key_N, SHIFT)
    assert review.regions.here == 2
    hands.key(review.regions.table, Qt.Key.Key_J)
    assert review.regions.resolved == {2}


def test_stroke_by_mouse_then_take_undo_redo_by_keys(open_window: Open) -> None:
    window = open_window(show=True)
    hands, review = Hands(window), window.review
    endings: list[str] = []
    review.strokes.finished.connect(endings.append)
    hands.key(hands.canvas, Qt.Key.Key_G)
    hands.drag()
    strokes = stroke_layer(review.session)
    assert strokes is not None
    said = strokes.data == FOREGROUND
    assert said.sum() > 10
    window.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]
    hands.key(hands.canvas, Qt.Key.Key_M, SHIFT)
    layer = annotation_of(review.session, create=False)
    assert layer is not None
    taken = layer.data.copy()
    np.testing.assert_array_equal(taken, window.viewer.layers["a · mean mask"].data)
    assert taken[said].all()
    # The strokes were active, but Ctrl+Z undoes the last action.
    hands.key(hands.canvas, Qt.Key.Key_Z, CTRL)
    assert not layer.data.any()
    np.testing.assert_array_equal(strokes.data == FOREGROUND, said)
    hands.key(hands.canvas, Qt.Key.Key_Z, CTRL | SHIFT)
    np.testing.assert_array_equal(layer.data, taken)
    # Painting continues with napari's own key and brush, as a separate step.
    hands.key(hands.canvas, Qt.Key.Key_E)
    assert layer.mode == "erase"
    hands.drag()
    assert layer.data.sum() < taken.sum()
    hands.key(hands.canvas, Qt.Key.Key_Z, CTRL)
    np.testing.assert_array_equal(layer.data, taken)


# --- work that is restored -----------------------------------------------------------------


def export(window: Window, path: Path) -> None:
    endings: list[str] = []
    section = window.review.annotation
    section.finished.connect(endings.append)
    section.files.ask_save = lambda _: path
    section.export_button.click()
    window.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"], section.status.text()
    section.finished.disconnect(endings.append)


def test_opening_an_export_restores_strokes_regions_and_settings(
    open_window: Open, tmp_path: Path
) -> None:
    first = open_window(seed=5)
    strokes = painted_by(first, FOREGROUND)
    first.review.session.show(
        reviewed(first.image, first.viewer, uncertain_samples(), strokes=strokes.data.copy())
    )
    first.settle()
    first.review.regions.visit(2)
    first.review.regions.resolve()
    first.press("Shift-M")
    export(first, tmp_path / "a.tif")
    output = json.loads((tmp_path / "a.tif.json").read_text())
    assert [tick["rank"] for tick in output["resolved_regions"]] == [2]

    second = open_window()
    second.review.session.show(reviewed(second.image, second.viewer, uncertain_samples()))
    second.settle()
    section, endings = second.review.annotation, list[str]()
    section.finished.connect(endings.append)
    redrawn: list[str] = []
    second.review.strokes.finished.connect(redrawn.append)
    second.review.strokes.follow.setChecked(False)
    section.files.ask_open = lambda _: tmp_path / "a.tif"
    section.open_button.click()
    second.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"], section.status.text()
    assert second.review.regions.resolved == {2}
    again = stroke_layer(second.review.session, create=False)
    assert again is not None
    np.testing.assert_array_equal(again.data, strokes.data)
    assert second.viewer.layers.selection.active.name == "a · annotation"
    # A further tick does not replace those of the file.
    second.review.regions.visit(1)
    second.review.regions.resolve()
    export(second, tmp_path / "b.tif")
    output = json.loads((tmp_path / "b.tif.json").read_text())
    assert sorted(tick["rank"] for tick in output["resolved_regions"]) == [1, 2]
    assert [run["pixels"] for run in output["corrections"]] == [8]


def test_restored_strokes_are_followed(open_window: Open) -> None:
    window = open_window()
    strokes = painted_by(window, FOREGROUND)
    after = window.viewer.layers["a · samples"].data.copy()
    window.press("Shift-M")
    window.review.annotation.autosaver.flush(wait=True)
    window.qtbot.waitUntil(lambda: window.review.annotation.kept.text() != "", timeout=PATIENCE)

    other = open_window()
    redrawn: list[str] = []
    other.review.strokes.finished.connect(redrawn.append)
    bar = other.review.annotation.bar
    other.qtbot.waitUntil(lambda: not bar.isHidden(), timeout=PATIENCE)
    bar.recover.click()
    other.qtbot.waitUntil(lambda: bool(redrawn), timeout=PATIENCE)
    assert redrawn == ["done"]
    np.testing.assert_array_equal(stroke_layer(other.review.session).data, strokes.data)
    # Equal seed, settings and strokes: exactly the previous samples.
    np.testing.assert_array_equal(other.viewer.layers["a · samples"].data, after)


_WORKING = """
import napari
from qtpy.QtCore import QTimer
from napari_latentfm.annotation import autosave
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.results.session import session_of
from napari_latentfm.review.panel import ReviewPanel
from tests.helpers.pictures import disc_image
from tests.helpers.looks import LARGE, disc, reviewed, two_looks
viewer = napari.Viewer(show=False)
image = viewer.add_image(disc_image(), rgb=True, name="skin")
panel = ReviewPanel(viewer)
viewer.window.add_dock_widget(panel)
session_of(viewer).show(reviewed(image, viewer, two_looks()))
write_labels(session_of(viewer), disc(*LARGE))
panel.annotation.autosaver.kept.connect(lambda _: print("kept", flush=True))
napari.run(force=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_the_annotation_is_offered_after_kill_9(
    make_napari_viewer: Callable[..., Any], qtbot: Any
) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", _WORKING]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
    viewer = make_napari_viewer()
    image = viewer.add_image(disc_image(), rgb=True, name="skin")
    panel = ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.session.show(reviewed(image, viewer, uncertain_samples()))
    bar = panel.annotation.bar
    qtbot.waitUntil(lambda: not bar.isHidden(), timeout=PATIENCE)
    bar.recover.click()
    layer = annotation_of(panel.session, create=False)
    assert layer is not None
    np.testing.assert_array_equal(layer.data == 1, disc(*LARGE))


# --- closed while it runs -----------------------------------------------------------------


@pytest.mark.parametrize("way", ["dock", "window"])
def test_closing_during_a_correction_cancels_it_and_keeps_the_work(
    open_window: Open, way: str
) -> None:
    window = open_window()
    window.press("Shift-M")
    layer = annotation_of(window.review.session, create=False)
    assert layer is not None
    with layer.block_history():
        layer.data_setitem((np.full(10, 2), np.arange(10)), 1)
    wanted, signature = layer.data.copy(), image_signature(window.image.data)
    before = window.viewer.layers["a · samples"].data.copy()
    stand_in, job = gate(window.sampling), window.sampling.job
    job.unload()
    window.review.strokes.redraw()
    stand_in.allow(1)
    window.qtbot.waitUntil(lambda: stand_in.done == 1, timeout=PATIENCE)
    samples = window.viewer.layers["a · samples"]
    if way == "dock":
        window.viewer.window.remove_dock_widget(window.review)
    else:
        window.viewer.close()
    stand_in.allow(1)
    window.qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert stand_in.done <= 2
    np.testing.assert_array_equal(samples.data, before)
    store = AutosaveStore(autosave_folder())
    window.qtbot.waitUntil(
        lambda: any(np.array_equal(s.labels(), wanted) for s in store.history(signature)),
        timeout=PATIENCE,
    )


# --- kinds of images ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grey", "plane of a stack", "plane of a series"])
def test_every_tab_uses_the_same_result(open_window: Open, kind: str) -> None:
    grey = disc_image()[..., 0]
    image, index = {
        "grey": (grey, ()),
        "plane of a stack": (np.stack([255 - grey, grey, 255 - grey]), (1,)),
        "plane of a series": (np.stack([np.stack([255 - grey, grey])] * 2), (0, 1)),
    }[kind]
    window = open_window(image, position=index)
    session = window.review.session
    window.press("H")
    chosen = window.review.hypotheses.chosen
    assert chosen is not None
    medoid = chosen.medoid
    window.press("W")
    layer = annotation_of(session, create=False)
    assert layer is not None
    assert layer.data.shape == image.shape
    mask = session.current.result.summary.sample_masks[medoid]
    np.testing.assert_array_equal(layer.data[index] == 1, mask)
    assert layer.data.sum() == mask.sum(), "other planes stay empty"
    window.press("N")
    steps = window.viewer.dims.current_step
    assert steps[len(steps) - 2 - len(index) : -2] == index
    endings: list[str] = []
    window.review.strokes.finished.connect(endings.append)
    window.press("G")
    strokes = stroke_layer(session)
    row = np.arange(26, 34)
    with strokes.block_history():
        strokes.data_setitem((*(np.full(8, at) for at in index), row, np.full(8, 60)), FOREGROUND)
    window.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["done"]
    assert session.current.result.summary.sample_masks[:, row, 60].all()
    window.press("Shift-M")
    assert layer.data[index][row, 60].all()
    assert layer.data[index].shape == SHAPE
