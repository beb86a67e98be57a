"""Move camera and sliders to a region of a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.layers.camera import camera_of
from napari_latentfm.layers.planes import Plane, to_viewer_units

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

CONTEXT = 2.0
"""Size of the view relative to the largest region."""
MIN_SHARE = 1 / 8
"""Smallest share of the plane's longer side that the view shows."""
USUAL_CANVAS = (600, 800)

Box = tuple[int, int, int, int]


def go_to(
    viewer: napari.viewer.Viewer, layer: Image, plane: Plane, boxes: Sequence[Box], number: int
) -> None:
    """Show one of several boxes of a plane in the centre of the canvas, and the plane itself.

    The zoom is the same for all boxes. A closer zoom that the user chose is kept if it shows the
    whole box.

    Parameters
    ----------
    viewer, layer, plane
        The viewer, and the plane of an image layer.
    boxes
        ``(top, left, bottom, right)`` each, in pixels of the plane.
    """
    top, left, bottom, right = boxes[number]
    factor = to_viewer_units(layer, viewer.dims)
    missing = viewer.dims.ndim - layer.ndim
    centre = factor * _world(layer, plane, (top + bottom - 1) / 2, (left + right - 1) / 2)
    for axis, at in enumerate(centre):
        if axis + missing not in viewer.dims.displayed:
            viewer.dims.set_point(axis + missing, at)
    shown = [axis - missing for axis in viewer.dims.displayed if axis >= missing]
    camera = camera_of(viewer)
    camera.center = tuple(centre[shown])

    def zoom(rows: float, columns: float) -> float:
        corners = ((0.0, 0.0), (0.0, columns), (rows, 0.0), (rows, columns))
        world = np.array([factor * _world(layer, plane, *corner) for corner in corners])
        # The extent of all corners, since the layer may be rotated.
        extent = np.maximum(np.ptp(world, axis=0)[shown][-2:], 1e-9)
        return float((np.array(_canvas_size(viewer)) / extent).min())

    longest = max(max(box[2] - box[0], box[3] - box[1]) for box in boxes)
    side = min(max(CONTEXT * longest, MIN_SHARE * max(plane.shape)), max(plane.shape))
    usual = zoom(side, side)
    if not usual < camera.zoom <= zoom(bottom - top, right - left):
        camera.zoom = usual


def _world(layer: Image, plane: Plane, row: float, column: float) -> NDArray[np.float64]:
    point = np.array([0 if at is None else at for at in plane.index], float)
    point[list(plane.axes)] = row, column
    return np.asarray(layer.data_to_world(point), float)


def _canvas_size(viewer: napari.viewer.Viewer) -> tuple[int, int]:
    # Before 0.9, napari does not give plugins the size.
    height, width = getattr(getattr(viewer, "canvas", None), "size", USUAL_CANVAS)
    return int(height), int(width)
