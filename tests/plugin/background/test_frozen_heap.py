"""Garbage collection while a work list is open."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
from napari.components import LayerList
from napari.layers import Image

from napari_latentfm.background.frozen_heap import FrozenHeap


def test_a_removed_layer_is_freed_though_it_was_hidden(qtbot: Any) -> None:
    layers = LayerList([Image(np.zeros((8, 8))), Image(np.ones((8, 8)))])
    heap = FrozenHeap(layers)
    heap.freeze(layers)
    try:
        assert gc.get_freeze_count() > 1000
        layer = weakref.ref(layers[0])
        del layers[0]
        qtbot.waitUntil(lambda: layer() is None)
        assert gc.get_freeze_count() > 1000
    finally:
        heap.release()
    assert gc.get_freeze_count() == 0
