"""Many pixels are written exactly as by a stroke, as one undo step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from napari_latentfm.layers.painting import MAX_LABELS, paint_where

SHAPE = (3, 40, 50)
WINDOW = (slice(1, 2), slice(5, 35), slice(10, 45))


def painted(labels: int) -> tuple[Labels, np.ndarray, np.ndarray, np.ndarray]:
    """Return a layer, its previous data, and the pixels and values to write."""
    rng = np.random.default_rng(labels)
    before = rng.integers(0, 3, SHAPE, dtype=np.uint8)
    shape = before[WINDOW].shape
    target = rng.integers(0, labels, shape, dtype=np.uint8)
    return Labels(before.copy()), before, rng.random(shape) < 0.4, target


@pytest.mark.parametrize("labels", [2, 4, MAX_LABELS + 5])
@pytest.mark.parametrize("preserve", [False, True])
def test_pixels_are_written_and_others_are_not(labels: int, preserve: bool) -> None:
    layer, before, changed, target = painted(labels)
    layer.preserve_labels = preserve
    assert paint_where(layer, WINDOW, changed, target) == np.count_nonzero(changed)
    wanted = before.copy()
    wanted[WINDOW][changed] = target[changed]
    np.testing.assert_array_equal(layer.data, wanted)
    assert layer.preserve_labels == preserve
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    layer.redo()
    np.testing.assert_array_equal(layer.data, wanted)


def test_the_screen_is_updated(make_napari_viewer_proxy: Callable[..., Any]) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    layer, before, changed, target = painted(3)
    viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 1)
    seen: list[Any] = []
    layer.events.labels_update.connect(lambda event: seen.append(event.data.copy()))
    changed[:] = True
    target[:] = 2
    paint_where(layer, WINDOW, changed, target)
    assert seen, "the brush's way to the screen"
    shot = viewer.window.screenshot(canvas_only=True, flash=False)
    layer.data[WINDOW] = before[WINDOW]
    layer.refresh()
    assert (shot != viewer.window.screenshot(canvas_only=True, flash=False)).any()


def test_an_empty_write_adds_no_undo_step() -> None:
    layer, before, changed, target = painted(2)
    layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), 7)
    assert paint_where(layer, WINDOW, np.zeros_like(changed), target) == 0
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_older_napari_versions_write_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Labels, "_paint_region_with_mask", raising=False)
    test_pixels_are_written_and_others_are_not(4, False)
