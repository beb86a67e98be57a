"""Crops of a plane of an image layer, such as the current view, as separate image layers.

A crop is exactly on the pixels that it was taken from. As an ordinary image layer it can be
sampled, reviewed, annotated and exported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import MIN_SIDE
from latentfm_core.types import ImageInput
from napari_latentfm.layers.camera import camera_of
from napari_latentfm.layers.pixels import known_spacing, read_pixels
from napari_latentfm.layers.placement import place, placement, shear_matrix
from napari_latentfm.layers.planes import (
    MAX_PLANE_PIXELS,
    Plane,
    displayed_plane,
    in_layer_units,
    level_index,
)
from napari_latentfm.layers.pyramid import levels_of
from napari_latentfm.layers.rollback import all_or_nothing

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

SIDE = 1024
"""Pixels that the longer side of a crop should have, if the image has several levels."""
SAME = 0.8
"""Crops with at least this intersection over union count as the same."""
KEY = "latentfm_field"
"""Metadata key under which a crop stores its source."""


@dataclass(frozen=True)
class PlaneCrop:
    """A crop of one plane of an image layer, at one level of its pyramid.

    Attributes
    ----------
    level
        0 is the finest, and the only one of an image without a pyramid.
    start, shape
        First pixel, and ``(H, W)``, in pixels of the level along the plane's axes.
    factor
        Pixels of the layer per pixel of the level, along the plane's axes.
    """

    plane: Plane
    level: int
    start: tuple[int, int]
    shape: tuple[int, int]
    factor: tuple[float, float]

    @property
    def own_plane(self) -> Plane:
        """The plane of the crop's own image layer."""
        index = tuple(None if at is None else 0 for at in self.plane.index)
        lengths = dict(zip(self.plane.axes, self.shape, strict=True))
        return Plane(self.shape, index, tuple(lengths.get(a, 1) for a in range(len(index))))

    def origin(self, layer: Image) -> dict[str, Any]:
        """Return the source of the crop as JSON values."""
        return {
            "source_id": str(layer.unique_id),
            "plane": list(self.plane.index),
            "level": self.level,
            "start": list(self.start),
            "shape": list(self.shape),
        }


def crop_on_screen(viewer: napari.viewer.Viewer, layer: Image) -> PlaneCrop:
    """Return the part of the displayed plane that is visible in the window.

    From a pyramid it is taken at the coarsest level that gives the crop `SIDE` pixels. A similar
    crop that already exists is used again, so that moving the view by a few pixels does not add
    layers.

    Raises
    ------
    ImageError
        If no single plane is shown, nothing of it is visible, or the crop is too large.
    """
    plane = displayed_plane(layer, viewer.dims, limit=None)
    shapes = [level.shape[: layer.ndim] for level in levels_of(layer)]
    box = _box_on_screen(viewer, layer, plane, shapes)
    level = _level(shapes, plane, float((box[1] - box[0]).max()))
    factor = np.array([shapes[0][axis] / shapes[level][axis] for axis in plane.axes])
    start = np.maximum(0, np.floor(box[0] / factor)).astype(int)
    stop = np.minimum([shapes[level][axis] for axis in plane.axes], np.ceil(box[1] / factor))
    height, width = (int(side) for side in np.maximum(0, stop - start))
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"Nothing of {layer.name!r} is on screen. Move the view onto it.")
    if height * width > MAX_PLANE_PIXELS:
        raise ImageError(
            f"The current view of {layer.name!r} has {height} x {width} pixels. Zoom in, or "
            "open the image with smaller copies (a pyramid)."
        )
    first = (int(start[0]), int(start[1]))
    crop = PlaneCrop(plane, level, first, (height, width), (factor[0], factor[1]))
    return _similar_crop(viewer, layer, crop) or crop


def _box_on_screen(
    viewer: napari.viewer.Viewer, layer: Image, plane: Plane, shapes: list[tuple[int, ...]]
) -> NDArray[np.float64]:
    """Return the first pixel of the layer that is on screen, and the one after the last."""
    shown = layer.data_level if layer.multiscale else 0
    axes = list(plane.axes)
    factor = np.array([shapes[0][axis] / shapes[shown][axis] for axis in axes])
    corners = np.asarray(layer.corner_pixels, float)[:, axes]
    box = np.stack([corners[0] * factor, (corners[1] + 1) * factor])
    size = getattr(getattr(viewer, "canvas", None), "size", None)
    if not layer.multiscale or size is None:
        return box
    # In a pyramid these are the corners of the loaded tile, which may exceed the screen.
    camera = camera_of(viewer)
    reach = np.asarray(size, float) / (2 * camera.zoom)
    order = [axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.displayed]
    corners_in_view = []
    for signs in product((-1, 1), repeat=2):
        point = np.asarray(viewer.dims.point, float)[-layer.ndim :].copy()
        point[order] = np.asarray(camera.center[-2:]) + signs * reach
        in_units = in_layer_units(layer, viewer.dims, point)
        corners_in_view.append(np.asarray(layer.world_to_data(in_units))[axes])
    low, high = np.min(corners_in_view, axis=0), np.max(corners_in_view, axis=0) + 1
    return np.stack([np.maximum(box[0], low), np.minimum(box[1], high)])


def _similar_crop(viewer: napari.viewer.Viewer, layer: Image, crop: PlaneCrop) -> PlaneCrop | None:
    for other in viewer.layers:
        origin = other.metadata.get(KEY)
        if origin is None:
            continue
        start, shape = origin["start"], origin["shape"]
        same = replace(crop, start=(start[0], start[1]), shape=(shape[0], shape[1]))
        if same.origin(layer) == origin and _overlap(crop, same) >= SAME:
            return same
    return None


def _overlap(one: PlaneCrop, other: PlaneCrop) -> float:
    """Return intersection over union."""
    first = np.maximum(one.start, other.start)
    last = np.minimum(np.add(one.start, one.shape), np.add(other.start, other.shape))
    shared = int(np.prod(np.maximum(0, last - first)))
    return shared / (math.prod(one.shape) + math.prod(other.shape) - shared)


def _level(shapes: list[tuple[int, ...]], plane: Plane, side: float) -> int:
    """Return the coarsest level at which `side` pixels of the layer are still `SIDE`."""
    axis = plane.axes[0]
    fine = [n for n, s in enumerate(shapes) if side * s[axis] / shapes[0][axis] >= SIDE]
    return max(fine, default=0)


def read_crop(layer: Image, crop: PlaneCrop) -> ImageInput:
    """Read the pixels of the crop only."""
    level = levels_of(layer)[crop.level]
    index = level_index(crop.plane, level.shape)
    for axis, start, side in zip(crop.plane.axes, crop.start, crop.shape, strict=True):
        index[axis] = slice(start, start + side)
    pixels = read_pixels(layer, level, tuple(index))
    spacing, unit = known_spacing(layer, crop.plane)
    if spacing is not None:
        spacing = spacing[0] * crop.factor[0], spacing[1] * crop.factor[1]
    return ImageInput(pixels, spacing, unit, layer.name)


@contextmanager
def crop_layer(
    viewer: napari.viewer.Viewer, source: Image, crop: PlaneCrop, pixels: NDArray[Any]
) -> Iterator[Image]:
    """Yield the layer of the crop, which is added above `source` if there is none.

    It shows these pixels in the place where the source is now. An error in the block undoes that.
    """
    data = np.expand_dims(pixels, tuple(crop.plane.fixed))
    known = [layer for layer in viewer.layers if _is_layer_of(layer, source, crop)][:1]
    layer = known[0] if known else _new_layer(source, crop, data)
    with all_or_nothing(viewer, known) as added:
        if not known:
            viewer.layers.insert(viewer.layers.index(source) + 1, layer)
            added.append(layer)
        elif not np.array_equal(layer.data, data):
            layer.data = data
        place(layer, crop_placement(source, crop))
        yield layer


def _is_layer_of(layer: Layer, source: Image, crop: PlaneCrop) -> TypeGuard[Image]:
    if not isinstance(layer, Image) or layer.metadata.get(KEY) != crop.origin(source):
        return False
    return bool(layer.data.shape[: layer.ndim] == crop.own_plane.layer_shape)


def _new_layer(source: Image, crop: PlaneCrop, data: NDArray[Any]) -> Image:
    layer = Image(
        data,
        name=f"{source.name}{crop.plane.label()} [field]",
        rgb=source.rgb,
        metadata={KEY: crop.origin(source)},
        **crop_placement(source, crop),
    )
    if not source.rgb:
        layer.contrast_limits = source.contrast_limits
        layer.colormap = source.colormap
    return layer


def crop_placement(layer: Image, crop: PlaneCrop) -> dict[str, Any]:
    """Return the `placement` of a crop at any level of the pyramid.

    A pixel of a level covers `factor` pixels of the layer, which shifts the centre of the first
    one by (factor - 1) / 2 pixels.
    """
    space = placement(layer, crop.plane)
    scale, offset = np.array(space["scale"]), np.zeros(layer.ndim)
    for axis, start, factor in zip(crop.plane.axes, crop.start, crop.factor, strict=True):
        offset[axis] = start * factor + (factor - 1) / 2
        scale[axis] *= factor
    turn = np.asarray(space["rotate"]) @ shear_matrix(space["shear"], layer.ndim)
    shift = turn @ (np.array(space["scale"]) * offset)
    return {**space, "scale": scale, "translate": np.asarray(space["translate"]) + shift}
