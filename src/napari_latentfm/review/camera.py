"""Camera and sliders to a place in a plane of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.layers.planes import Plane, unit_factor

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

CONTEXT = 4.0
"""The view is this many times as large as what is looked at."""
LEAST_VIEW = 6
"""Pixels; what is smaller is shown as if it were as large."""
USUAL_CANVAS = (600, 800)


def go_to(
    viewer: napari.viewer.Viewer, layer: Image, plane: Plane, box: tuple[int, int, int, int]
) -> None:
    """Show a box of a plane in the middle of the canvas, and the plane itself.

    Parameters
    ----------
    viewer, layer, plane
        Where.
    box
        ``(top, left, bottom, right)`` in pixels of the plane.
    """
    top, left, bottom, right = box
    factor = _to_viewer(viewer, layer)
    missing = viewer.dims.ndim - layer.ndim
    first, last = (factor * _world(layer, plane, *at) for at in ((top, left), (bottom, right)))
    other, pixel = (
        factor * _world(layer, plane, *at) for at in ((top, right), (top + 1, left + 1))
    )
    middle = factor * _world(layer, plane, (top + bottom - 1) / 2, (left + right - 1) / 2)
    for axis, at in enumerate(middle):
        if axis + missing not in viewer.dims.displayed:
            viewer.dims.set_point(axis + missing, at)
    shown = [axis - missing for axis in viewer.dims.displayed if axis >= missing]
    # Napari 0.9 moved the camera.
    camera = getattr(viewer, "scene", viewer).camera
    camera.center = tuple(middle[shown])
    # The corners' spread, for the layer may be rotated.
    extent = np.maximum(np.ptp([first, last, other], axis=0), LEAST_VIEW * np.abs(pixel - first))
    zoom = np.array(_canvas_size(viewer)) / np.maximum(CONTEXT * extent[shown][-2:], 1e-9)
    camera.zoom = float(zoom.min())


def _world(layer: Image, plane: Plane, row: float, column: float) -> NDArray[np.float64]:
    point = np.array([0 if at is None else at for at in plane.index], float)
    point[list(plane.axes)] = row, column
    return np.asarray(layer.data_to_world(point), float)


def _to_viewer(viewer: napari.viewer.Viewer, layer: Image) -> NDArray[np.float64]:
    """Return how many of the viewer's units one unit of each axis of the layer is."""
    units = getattr(viewer.dims, "units", None)
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    pairs = zip(layer.units, units[-layer.ndim :], strict=True)
    return np.array([unit_factor(own, world) for own, world in pairs])


def _canvas_size(viewer: napari.viewer.Viewer) -> tuple[int, int]:
    # Napari before 0.9 tells plugins no size.
    height, width = getattr(getattr(viewer, "canvas", None), "size", USUAL_CANVAS)
    return int(height), int(width)
