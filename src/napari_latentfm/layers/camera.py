"""The camera of a viewer, in all supported versions of napari."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentfm.layers.planes import to_viewer_units

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel
    from napari.layers import Layer

FILLED = 0.95
"""Share of the canvas that a fitted layer fills, as napari's own."""


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera; napari 0.9 moved it from ``viewer`` to ``viewer.scene``."""
    return getattr(viewer, "scene", viewer).camera


def fit_view(viewer: napari.viewer.Viewer, layer: Layer) -> None:
    """Reset the view, and fit it to one flat layer; napari counts hidden layers, too."""
    viewer.reset_view()
    size = _canvas_size(viewer)
    if size is None or viewer.dims.ndisplay != 2 or _grid(viewer).enabled:
        return
    factor = to_viewer_units(layer, viewer.dims)[-2:]
    low, high = layer.extent.world[:, -2:] * factor
    sides = np.maximum(high - low + np.abs(layer.scale[-2:]) * factor, 1e-9)
    camera = camera_of(viewer)
    camera.center = (*camera.center[:-2], *((low + high) / 2))
    camera.zoom = FILLED * float(np.min(np.asarray(size, float) / sides))


def _canvas_size(viewer: napari.viewer.Viewer) -> Any:
    """Return (height, width) of the canvas in pixels; napari 0.9 made it public."""
    canvas = getattr(viewer, "canvas", None)
    return getattr(viewer, "_canvas_size", None) if canvas is None else canvas.size


def _grid(viewer: napari.viewer.Viewer) -> Any:
    canvas = getattr(viewer, "canvas", None)
    return viewer.grid if canvas is None else canvas.grid


@contextmanager
def keeping_view(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Restore centre and zoom afterwards; napari resets the view when an axis is added."""
    camera = camera_of(viewer)
    centre, zoom = camera.center, camera.zoom
    try:
        yield
    finally:
        camera.center, camera.zoom = centre, zoom
