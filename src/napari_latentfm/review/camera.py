"""Camera and sliders to a place in a plane of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.layers.camera import camera_of
from napari_latentfm.layers.planes import Plane, unit_factor

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

CONTEXT = 2.0
"""The view is this many times as large as the largest of what is looked at."""
LEAST_SHARE = 1 / 8
"""Share of the plane's longer side that the view shows at least."""
USUAL_CANVAS = (600, 800)

Box = tuple[int, int, int, int]


def go_to(
    viewer: napari.viewer.Viewer, layer: Image, plane: Plane, boxes: Sequence[Box], place: int
) -> None:
    """Show one of several boxes of a plane in the middle of the canvas, and the plane itself.

    The zoom is the same for all boxes, so that the image does not change its size from one to the
    next. A closer zoom that the user has chosen stays, as long as the whole box is in sight.

    Parameters
    ----------
    viewer, layer, plane
        Where.
    boxes
        ``(top, left, bottom, right)`` each, in pixels of the plane.
    place
        Which of them.
    """
    top, left, bottom, right = boxes[place]
    factor = _to_viewer(viewer, layer)
    missing = viewer.dims.ndim - layer.ndim
    middle = factor * _world(layer, plane, (top + bottom - 1) / 2, (left + right - 1) / 2)
    for axis, at in enumerate(middle):
        if axis + missing not in viewer.dims.displayed:
            viewer.dims.set_point(axis + missing, at)
    shown = [axis - missing for axis in viewer.dims.displayed if axis >= missing]
    camera = camera_of(viewer)
    camera.center = tuple(middle[shown])

    def zoom(rows: float, columns: float) -> float:
        corners = ((0.0, 0.0), (0.0, columns), (rows, 0.0), (rows, columns))
        world = np.array([factor * _world(layer, plane, *corner) for corner in corners])
        # The corners' spread, for the layer may be rotated.
        extent = np.maximum(np.ptp(world, axis=0)[shown][-2:], 1e-9)
        return float((np.array(_canvas_size(viewer)) / extent).min())

    longest = max(max(box[2] - box[0], box[3] - box[1]) for box in boxes)
    side = min(max(CONTEXT * longest, LEAST_SHARE * max(plane.shape)), max(plane.shape))
    usual = zoom(side, side)
    if not usual < camera.zoom <= zoom(bottom - top, right - left):
        camera.zoom = usual


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
