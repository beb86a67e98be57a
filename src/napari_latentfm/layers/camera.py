"""The camera of a viewer, in all supported versions of napari."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentfm.layers.planes import to_viewer_units
from napari_latentfm.layers.stacking import source_of

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel
    from napari.layers import Layer

    from latentfm_core.prompts.prompt import Box

FILLED = 0.95
"""Share of the canvas that a fitted layer fills, as napari's own."""
LEAST_VISIBLE = 0.2
"""Smallest visible share of an image that is enough to look at its first result."""


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera; napari 0.9 moved it from ``viewer`` to ``viewer.scene``."""
    return getattr(viewer, "scene", viewer).camera


def frame_of(layer: Layer) -> tuple[Any, ...]:
    """Return what two flat images have in common if the same view fits both."""
    return *layer.data.shape[:2], *layer.scale, *map(str, layer.units)


def fit_view(viewer: napari.viewer.Viewer, layer: Layer) -> None:
    """Reset the view, and fit it to one layer; napari counts hidden layers, too."""
    viewer.reset_view()
    frame = _frame(viewer, layer)
    if frame is None:
        return
    size, centre, sides = frame
    camera = camera_of(viewer)
    camera.center = (*camera.center[:-2], *centre)
    camera.zoom = FILLED * float(np.min(size / sides))


def shows_half_of(viewer: napari.viewer.Viewer, layer: Layer, box: Box) -> bool:
    """Return whether at least half of a box ``(top, left, bottom, right)`` is visible.

    The box is in pixels of a flat layer; True if that is not known.
    """
    return _visible_share(viewer, layer, box) >= 0.5


def _visible_share(viewer: napari.viewer.Viewer, layer: Layer, box: Box | None = None) -> float:
    """Return which part of a layer, or of a box in it, the canvas shows; 1 if that is not known."""
    frame = _frame(viewer, layer, box)
    if frame is None:
        return 1.0
    size, centre, sides = frame
    camera = camera_of(viewer)
    away, seen = np.abs(centre - camera.center[-2:]), size / camera.zoom
    overlap = np.minimum((sides + seen) / 2 - away, np.minimum(sides, seen))
    return float(np.prod(np.maximum(overlap, 0) / sides))


def _frame(
    viewer: napari.viewer.Viewer, layer: Layer, box: Box | None = None
) -> tuple[Any, Any, Any] | None:
    """Return the size of a flat canvas, centre and sides of a layer or a box in it; else None."""
    size, dims = _canvas_size(viewer), viewer.dims
    shown = [axis - dims.ndim for axis in dims.displayed]
    if size is None or dims.ndisplay != 2 or _grid(viewer).enabled or -min(shown) > layer.ndim:
        return None
    factor = to_viewer_units(layer, dims)[shown]
    low, high = layer.extent.world[:, shown] * factor
    pixel = np.abs(np.asarray(layer.scale)[shown]) * factor
    sides, centre = np.maximum(high - low + pixel, 1e-9), (low + high) / 2
    if box is not None:
        sides = np.subtract(box[2:], box[:2]) * pixel
        centre = low + (np.add(box[:2], box[2:]) - 1) / 2 * pixel
    return np.asarray(size, float), centre, sides


def _canvas_size(viewer: napari.viewer.Viewer) -> Any:
    """Return (height, width) of the canvas in pixels; napari 0.9 made it public."""
    canvas = getattr(viewer, "canvas", None)
    return getattr(viewer, "_canvas_size", None) if canvas is None else canvas.size


def _grid(viewer: napari.viewer.Viewer) -> Any:
    canvas = getattr(viewer, "canvas", None)
    return viewer.grid if canvas is None else canvas.grid


@contextmanager
def keeping_view(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Restore centre and zoom, and the slider that the arrow keys move, afterwards.

    When an axis is added, napari resets the view, and the arrow keys move the new slider.
    """
    camera, dims = camera_of(viewer), viewer.dims
    centre, zoom = camera.center, camera.zoom
    slider = dims.last_used - dims.ndim
    has_slider = any(dims.nsteps[axis] > 1 for axis in dims.not_displayed)
    try:
        yield
    finally:
        camera.center, camera.zoom = centre, zoom
        if has_slider and slider + dims.ndim in dims.not_displayed:
            dims.last_used = slider + dims.ndim


@contextmanager
def bringing_into_view(viewer: napari.viewer.Viewer, image: Layer) -> Iterator[None]:
    """Keep the view as `keeping_view`, but fit it to an image that is out of sight afterwards.

    So it is fitted for the first result of an image of which only a small part is visible.
    """
    key = str(image.unique_id)
    is_first = not any(source_of(layer) == key for layer in viewer.layers)
    with keeping_view(viewer):
        yield
    share = _visible_share(viewer, image)
    if share == 0 or (is_first and share < LEAST_VISIBLE):
        fit_view(viewer, image)
