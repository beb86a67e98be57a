"""The chosen image, the image in front and the image under review stay the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListView

from latentfm_core.worklist.state import WorkList
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.stacking import source_of
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, gate, run
from tests.plugin.dock.conftest import NAMES

Open = Callable[..., tuple[Any, LatentFMPanel]]
Key = Qt.Key
LEFT, PLAIN = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class Bench:
    """A viewer with the dock and some images in the same place."""

    def __init__(self, viewer: Any, panel: LatentFMPanel, qtbot: Any) -> None:
        self.viewer, self.panel, self.qtbot = viewer, panel, qtbot
        self.form = panel.sampling.form

    @property
    def in_front(self) -> str:
        """Return the name of the uppermost visible photograph."""
        shown = [x for x in self.viewer.layers if isinstance(x, Image) and x.visible and x.rgb]
        return str(shown[-1].name) if shown else ""

    @property
    def strangers(self) -> list[str]:
        """Return visible layers above the front image that belong to another image."""
        layers = list(self.viewer.layers)
        front = next(place for place, x in enumerate(layers) if x.name == self.in_front)
        own = str(layers[front].unique_id)
        return [x.name for x in layers[front:] if x.visible and source_of(x) not in ("", own)]

    @property
    def reviewed(self) -> str:
        current = self.panel.session.current
        return "" if current is None else str(current.layer.name)

    @property
    def message(self) -> str:
        return self.panel.footer.message.text()

    def choose(self, name: str) -> None:
        """Choose an image with the keyboard, in the list at the top of the dock."""
        box = self.form.image.native
        box.setFocus()
        places = [box.itemText(place) for place in range(box.count())]
        away = places.index(name) - box.currentIndex()
        for _ in range(abs(away)):
            self.qtbot.keyClick(box, Key.Key_Down if away > 0 else Key.Key_Up)
        self.settle()

    def select(self, name: str) -> None:
        """Click a layer in napari's layer list."""
        views = self.panel.window().findChildren(QListView)
        view = next(x for x in views if "LayerList" in type(x).__name__)
        model = view.model()
        for row in range(model.rowCount()):
            index = model.index(row, 0)
            if index.data() == name:
                place = view.visualRect(index).center()
                self.qtbot.mouseClick(view.viewport(), LEFT, PLAIN, place)
        assert self.viewer.layers.selection.active.name == name
        self.settle()

    def settle(self) -> None:
        self.qtbot.waitUntil(lambda: not self.panel.chosen._timer.isActive(), timeout=PATIENCE)

    def press(self, key: Qt.Key) -> None:
        canvas = self.viewer.window._qt_viewer.canvas.native
        self.panel.window().activateWindow()
        canvas.setFocus()
        self.qtbot.waitUntil(canvas.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(canvas, key)

    def is_about(self, name: str) -> bool:
        """Return whether list, canvas and status name the same image."""
        return (
            self.form.image.value.name == name
            and self.in_front == name
            and not self.strangers
            and self.form.status.value.startswith(f"{name}: ")
        )


@pytest.fixture
def bench(opened: Open, qtbot: Any) -> Bench:
    viewer, panel = opened(show=True)
    return Bench(viewer, panel, qtbot)


@pytest.fixture
def three(bench: Bench, images: Path) -> Bench:
    """Open three files together."""
    bench.viewer.open([str(images / name) for name in NAMES], plugin="napari")
    bench.settle()
    return bench


def test_the_chosen_image_comes_to_the_front_and_is_run_and_accepted(three: Bench) -> None:
    assert three.is_about("blob_002")
    three.choose("blob_000")
    assert three.is_about("blob_000")
    assert run(three.qtbot, three.panel.sampling) == "done"
    three.settle()
    assert three.reviewed == "blob_000"
    assert three.is_about("blob_000")
    # It, or a result of it, can also be selected in the layer list.
    three.select("blob_001")
    assert three.is_about("blob_001")
    assert three.reviewed == ""
    three.select("blob_000 · mean mask")
    assert three.is_about("blob_000")
    assert three.reviewed == "blob_000"
    three.choose("blob_001")
    assert three.is_about("blob_001")
    assert three.reviewed == ""
    assert three.viewer.layers.selection.active.name == "blob_001"
    assert three.form.progress.native.text() == "", "done belongs to the image before"
    layers = three.viewer.layers
    three.press(Key.Key_Return)
    assert three.message.startswith("blob_001: Nothing to accept yet")
    assert not any("annotation" in layer.name for layer in layers)
    assert run(three.qtbot, three.panel.sampling) == "done"
    three.choose("blob_000")
    assert three.message == ""
    assert three.reviewed == "blob_000"
    assert three.is_about("blob_000")
    assert layers["blob_000 · mean mask"].visible
    assert "Mean mask" in three.form.status.value
    three.press(Key.Key_Return)
    assert three.message.startswith("blob_000: accepted")
    assert "blob_000 · annotation" in layers
    assert "blob_001 · annotation" not in layers
    # Leaving it autosaves an edit, which says nothing about the next image.
    layers["blob_000 · annotation"].data_setitem((np.array([1]), np.array([1])), 1)
    three.choose("blob_001")
    section = three.panel.review.annotation
    three.qtbot.waitUntil(lambda: not section.autosaver.work.busy, timeout=PATIENCE)
    assert (three.panel.footer.kept.text(), section.kept.text()) == ("", "")


def test_a_removed_image_leaves_only_what_was_painted(three: Bench) -> None:
    panel, layers = three.panel, three.viewer.layers
    three.choose("blob_001")
    assert run(three.qtbot, panel.sampling) == "done"
    three.settle()
    panel.review.strokes.paint_foreground()
    panel.point.tools.select("box")
    three.viewer.layers["blob_001 · mean mask"].data_setitem((np.array([1]), np.array([1])), 1)
    panel.review.annotation.take_mean_mask()
    three.select("blob_001 · annotation")
    painted = layers["blob_001 · annotation"]
    layers["blob_001 · samples"].data_setitem((np.array([0]), np.array([1]), np.array([1])), 1)
    layers.remove("blob_001")
    message = panel.footer.message
    three.qtbot.waitUntil(lambda: "blob_001 was removed" in message.text(), timeout=PATIENCE)
    kept = ["blob_001 · samples", "blob_001 · annotation"]
    assert {layer.name for layer in layers} == {"blob_000", "blob_002", *kept}
    assert f"{kept[0]!r}, {kept[1]!r} stay there" in message.text()
    assert not any(source_of(layer) for layer in layers)
    assert painted.data.any()


def test_outdated_results_are_not_accepted_during_a_run(three: Bench) -> None:
    sampling, endings = three.panel.sampling, list[str]()
    three.choose("blob_000")
    assert run(three.qtbot, sampling) == "done"
    hypotheses = three.panel.review.hypotheses
    three.qtbot.waitUntil(lambda: bool(hypotheses.hypotheses), timeout=PATIENCE)
    three.press(Key.Key_H)
    assert hypotheses.chosen is not None
    three.form.device.value = "auto"
    slow = gate(sampling, total=2)
    sampling.finished.connect(endings.append)
    three.panel.run_model()
    for key in (Key.Key_W, Key.Key_U, Key.Key_H):
        three.press(key)
        assert "A run is still in progress" in hypotheses.status.text()
        assert "A run is still in progress" in three.message, "the section may be folded"
        three.panel.footer.show_message()
    three.press(Key.Key_Return)
    assert three.message.startswith("blob_000: A run is still in progress")
    assert not any("annotation" in layer.name for layer in three.viewer.layers)
    slow.allow(2)
    three.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    three.press(Key.Key_Return)
    assert three.message.startswith("blob_000: accepted")
    # An image that is opened during a run is chosen when the run has ended.
    endings.clear()
    three.panel.run_model()
    three.viewer.add_image(disc_image(), name="late", rgb=True)
    three.settle()
    assert three.form.status.value.startswith("blob_000: ")
    slow.allow(2)
    three.qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    three.settle()
    assert endings == ["done"]
    assert three.is_about("late")
    assert three.reviewed == ""
    three.choose("blob_000")
    current = three.panel.session.current
    assert current is not None
    assert current.result.samples.model_id == "gated"


def test_an_image_outside_the_open_work_list_is_accepted_alone(bench: Bench, images: Path) -> None:
    panel, shown = bench.panel, list[str]()
    panel.queue.shown.connect(shown.append)
    panel.open_folder(images)
    bench.qtbot.waitUntil(lambda: shown == [NAMES[0]], timeout=PATIENCE)
    bench.settle()
    first = bench.form.image.value.name
    assert panel.footer.accept.text() == "Accept && next"
    bench.viewer.add_image(disc_image(), name="guest", rgb=True)
    bench.settle()
    assert bench.is_about("guest")
    assert panel.footer.accept.text() == "Accept"
    assert not panel.footer.flag.isEnabled()
    bench.press(Key.Key_Return)
    assert bench.message.startswith("guest: Nothing to accept yet")
    assert WorkList(images).item(NAMES[0]).state == "not started"
    bench.choose(first)
    assert bench.is_about(first)
    assert bench.reviewed == first
    assert panel.footer.accept.text() == "Accept && next"
    bench.press(Key.Key_Return)
    bench.qtbot.waitUntil(lambda: shown[-1] == NAMES[1], timeout=PATIENCE)
    bench.settle()
    assert WorkList(images).item(NAMES[0]).state == "completed"
    assert bench.is_about(Path(NAMES[1]).stem)


def test_the_results_kept_for_images_are_bounded(
    three: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentfm.dock.reviews.MAX_BYTES", 1)
    for name in ("blob_000", "blob_001"):
        three.choose(name)
        assert run(three.qtbot, three.panel.sampling) == "done"
    three.choose("blob_000")
    assert three.reviewed == ""
    assert np.asarray(three.viewer.layers["blob_000 · mean mask"].data).any()
