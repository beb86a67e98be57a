"""Regions drawn on the image, to which proposals are limited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from latentfm_core.colours import ROLE_COLOURS
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.stacking import REGION_KEY, add_above

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession

Bool = NDArray[np.bool_]

REGION_COLOUR = ROLE_COLOURS["drawn region"]
ELLIPSE_POINTS = 128


def drawn_region(session: ReviewSession) -> Bool | None:
    """Return the inside of the shapes drawn on the plane under review as ``(H, W)`` bool.

    Open paths count as closed; lines enclose nothing. Shapes on other planes are ignored.

    None if nothing is drawn there.
    """
    layer = region_layer(session, create=False)
    reviewed = session.current
    if layer is None or reviewed is None:
        return None
    mask: Bool | None = None
    plane = reviewed.plane
    for outline, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind == "line" or not _is_on(outline, plane.fixed):
            continue
        corners = np.asarray(outline, float)[:, plane.axes]
        if kind == "ellipse":
            corners = _ellipse(corners)
        if len(corners) > 2:
            drawn = polygon2mask(plane.shape, corners)
            mask = drawn if mask is None else mask | drawn
    return mask


def region_layer(session: ReviewSession, create: bool = True) -> Shapes | None:
    """Return the Shapes layer in which regions of the image under review are drawn."""
    reviewed = session.current
    if reviewed is None:
        return None
    key = str(reviewed.layer.unique_id)
    for layer in session.viewer.layers:
        if isinstance(layer, Shapes) and layer.metadata.get(REGION_KEY) == key:
            return layer
    if not create:
        return None
    layer = Shapes(
        ndim=len(reviewed.plane.index),
        name=f"{reviewed.layer.name} · region",
        edge_color=REGION_COLOUR,
        edge_width=max(1.0, max(reviewed.plane.shape) / 256),
        face_color="transparent",
        metadata={REGION_KEY: key},
        **placement(reviewed.layer, reviewed.plane.first()),
    )
    add_above(session.viewer, layer, reviewed.layer)
    return layer


def clear_region(session: ReviewSession) -> None:
    """Remove the shapes of the region on the plane under review."""
    layer, reviewed = region_layer(session, create=False), session.current
    if layer is None or reviewed is None:
        return
    fixed = reviewed.plane.fixed
    layer.selected_data = {n for n, shape in enumerate(layer.data) if _is_on(shape, fixed)}
    layer.remove_selected()


def _is_on(shape: NDArray[Any], fixed: Mapping[int, int]) -> bool:
    """Return whether a shape lies on the plane at fixed positions of the other axes."""
    return all(np.abs(np.asarray(shape)[:, axis] - at).max() < 0.5 for axis, at in fixed.items())


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points on the ellipse that napari stores as the corners of its bounding box.

    The box may be rotated: its half axes are read from neighbouring corners.
    """
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[2] - corners[1]) / 2
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * first + np.sin(angle) * second)
