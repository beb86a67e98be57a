"""Objects of modules are left out of garbage collections, removed layers are released."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal
from qtpy.QtWidgets import QWidget

from napari_latentfm.background import lasting
from napari_latentfm.background.lasting import LastingObjects

MANY = 200_000
"""napari alone has about half of these objects."""


class Shown:
    """Reports that a result is shown."""

    changed = Signal()


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def owner(qtbot: Any, viewer: ViewerModel) -> Iterator[QWidget]:
    """The owner of the excluded objects; its deletion includes all of them again."""
    gc.unfreeze()
    widget = QWidget()
    shown = Shown()
    viewer.add_image(np.zeros((8, 8)))
    add(viewer, "first")
    LastingObjects(viewer, shown.changed, widget)
    shown.changed.emit()
    yield widget
    widget.deleteLater()
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0)


def add(viewer: ViewerModel, name: str) -> None:
    """Add a layer that is part of a reference cycle, below the others."""
    layer = Image(np.zeros((8, 8)), name=name)
    layer.metadata["itself"] = layer
    viewer.layers.insert(0, layer)
    viewer.layers.selection.active = viewer.layers[-1]  # the selection remembers a removed layer


def remove(viewer: ViewerModel, name: str) -> weakref.ref[Any]:
    """Remove a layer, and collect garbage as napari does."""
    removed = weakref.ref(viewer.layers[name])
    viewer.layers.remove(viewer.layers[name])
    gc.collect()
    return removed


def test_modules_are_excluded_from_collection(owner: QWidget) -> None:
    assert gc.get_freeze_count() > MANY
    assert len(gc.get_objects()) < MANY / 10


def test_threads_can_keep_filling_tuples(qtbot: Any, viewer: ViewerModel) -> None:
    """Nothing else may refer to an object under construction."""
    gc.unfreeze()
    faults: list[Exception] = []
    ended = threading.Event()

    def fill() -> None:
        try:
            while not ended.is_set():
                tuple(sum(range(100)) for _ in range(1000))
        except SystemError as fault:
            faults.append(fault)

    worker = threading.Thread(target=fill)
    worker.start()
    widget, shown = QWidget(), Shown()
    LastingObjects(viewer, shown.changed, widget)
    shown.changed.emit()
    ended.set()
    worker.join()
    assert gc.get_freeze_count() > MANY
    widget.deleteLater()
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0)
    assert not faults


def test_layers_added_later_are_released_at_once(owner: QWidget, viewer: ViewerModel) -> None:
    add(viewer, "later")
    assert remove(viewer, "later")() is None


@pytest.mark.parametrize("limit", ["LARGE", "PAUSE"])
def test_existing_layers_are_released_if_large_or_later(
    limit: str, owner: QWidget, viewer: ViewerModel, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remove(viewer, "first")
    qtbot.wait(1)
    assert first() is not None, "otherwise this would collect through all modules"
    add(viewer, "second")
    monkeypatch.setattr(lasting, limit, 0)
    for each in owner.findChildren(LastingObjects):
        each._freeze()
    second = remove(viewer, "second")
    qtbot.waitUntil(lambda: second() is None)
    assert first() is None
    assert gc.get_freeze_count() > MANY, "modules are left out again"


def test_objects_frozen_by_others_stay_frozen(qtbot: Any, viewer: ViewerModel) -> None:
    gc.freeze()
    count, shown, widget = gc.get_freeze_count(), Shown(), QWidget()
    LastingObjects(viewer, shown.changed, widget)
    shown.changed.emit()
    widget.deleteLater()
    qtbot.wait(10)
    assert count >= gc.get_freeze_count() > MANY
