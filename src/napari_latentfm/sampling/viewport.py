"""The visible field: a crop of what is on screen, as an image layer of its own.

The crop lies exactly on what it was taken from. Being a layer like any other, it is sampled,
reviewed, annotated and exported like any other.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import MIN_SIDE
from latentfm_core.progress import follow_until
from latentfm_core.types import ImageInput
from napari_latentfm.background.job import (
    Outcome,
    Request,
    Result,
    Update,
    step_update,
    summary_updates,
)
from napari_latentfm.layers.planes import (
    MAX_PLANE_PIXELS,
    Plane,
    displayed_plane,
    known_spacing,
    placement,
    read_pixels,
    shear_matrix,
)

if TYPE_CHECKING:
    import napari

    from latentfm_core.inference.segmenter import Segmenter

SIDE = 1024
"""Pixels that the longer side of a crop should have, where the image has levels to choose from."""
SAME = 0.8
"""Intersection over union of two views from which on they are one."""
KEY = "latentfm_field"
"""Of the crop's metadata: where it was taken from."""


@dataclass(frozen=True)
class VisibleField:
    """A crop of one plane of an image layer, at one level of its pyramid.

    Attributes
    ----------
    plane
        The plane that is on screen.
    level
        0 is the finest; the only one of an image without a pyramid.
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
        """The plane of the layer that the crop becomes."""
        index = tuple(None if at is None else 0 for at in self.plane.index)
        lengths = dict(zip(self.plane.axes, self.shape, strict=True))
        return Plane(self.shape, index, tuple(lengths.get(a, 1) for a in range(len(index))))

    def origin(self, layer: Image) -> dict[str, Any]:
        """Return, as JSON values, where the crop comes from."""
        return {
            "source_id": str(layer.unique_id),
            "plane": list(self.plane.index),
            "level": self.level,
            "start": list(self.start),
            "shape": list(self.shape),
        }


@dataclass(frozen=True)
class FieldRun(Result):
    """What a run over a visible field returns.

    Attributes
    ----------
    pixels
        The crop, ``(H, W)`` or ``(H, W, C)``.
    """

    pixels: NDArray[Any]


def visible_field(viewer: napari.viewer.Viewer, layer: Image) -> VisibleField:
    """Return the part of the plane on screen that the window shows.

    Of an image with a pyramid, the coarsest level that gives the crop `SIDE` pixels. A crop that
    is there already and is much the same is taken again, so that a view that moved by a few
    pixels makes no further layers.

    Raises
    ------
    ImageError
        If no single plane is shown, nothing of it is visible, or the crop is too large.
    """
    plane = displayed_plane(layer, viewer.dims, limit=None)
    shapes = [level.shape[: layer.ndim] for level in _levels(layer)]
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
            f"The visible field of {layer.name!r} has {height} x {width} pixels. Zoom in, or "
            "open the image with smaller copies (a pyramid)."
        )
    first = (int(start[0]), int(start[1]))
    field = VisibleField(plane, level, first, (height, width), (factor[0], factor[1]))
    return _much_the_same(viewer, layer, field) or field


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
    # Of a pyramid these are the corners of what is loaded, which may be more than is on screen.
    camera = getattr(viewer, "scene", viewer).camera
    reach = np.asarray(size, float) / (2 * camera.zoom)
    order = [axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.displayed]
    found = []
    for signs in product((-1, 1), repeat=2):
        point = np.asarray(viewer.dims.point, float)[-layer.ndim :].copy()
        point[order] = np.asarray(camera.center[-2:]) + signs * reach
        found.append(np.asarray(layer.world_to_data(point))[axes])
    low, high = np.min(found, axis=0), np.max(found, axis=0) + 1
    return np.stack([np.maximum(box[0], low), np.minimum(box[1], high)])


def _much_the_same(
    viewer: napari.viewer.Viewer, layer: Image, field: VisibleField
) -> VisibleField | None:
    for other in viewer.layers:
        origin = other.metadata.get(KEY)
        if origin is None:
            continue
        start, shape = origin["start"], origin["shape"]
        same = replace(field, start=(start[0], start[1]), shape=(shape[0], shape[1]))
        if same.origin(layer) == origin and _overlap(field, same) >= SAME:
            return same
    return None


def _overlap(one: VisibleField, other: VisibleField) -> float:
    """Return intersection over union."""
    first = np.maximum(one.start, other.start)
    last = np.minimum(np.add(one.start, one.shape), np.add(other.start, other.shape))
    shared = int(np.prod(np.maximum(0, last - first)))
    return shared / (math.prod(one.shape) + math.prod(other.shape) - shared)


def _levels(layer: Image) -> list[Any]:
    return list(layer.data) if layer.multiscale else [layer.data]


def _level(shapes: list[tuple[int, ...]], plane: Plane, side: float) -> int:
    """Return the coarsest level at which `side` pixels of the layer are still `SIDE`."""
    axis = plane.axes[0]
    fine = [n for n, s in enumerate(shapes) if side * s[axis] / shapes[0][axis] >= SIDE]
    return max(fine, default=0)


def read_field(layer: Image, field: VisibleField) -> ImageInput:
    """Read the crop and nothing else."""
    index: list[Any] = list(field.plane.index)
    shape = _levels(layer)[field.level].shape
    for axis, at in enumerate(index):
        if at is not None:
            # Levels may be smaller along other axes too.
            index[axis] = at * shape[axis] // field.plane.layer_shape[axis]
    for axis, start, side in zip(field.plane.axes, field.start, field.shape, strict=True):
        index[axis] = slice(start, start + side)
    pixels = read_pixels(layer, _levels(layer)[field.level], tuple(index))
    spacing, unit = known_spacing(layer, field.plane)
    if spacing is not None:
        spacing = spacing[0] * field.factor[0], spacing[1] * field.factor[1]
    return ImageInput(pixels, spacing, unit, layer.name)


def field_request(
    layer: Image, field: VisibleField, model: str | Path, settings: SamplingConfig
) -> Request:
    """Return what to ask of the job; its result is a `FieldRun`."""
    read = partial(read_field, layer, field)
    return Request(read, model, settings, work=partial(_draw, layer, field, settings))


def _draw(
    layer: Image,
    field: VisibleField,
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome]:
    yield Update("Reading the visible field…")
    image = read_field(layer, field)
    steps = segmenter.sample_steps(image, settings)
    samples = yield from follow_until(stop, steps, step_update)
    if samples is None:
        return Outcome()
    summary = yield from summary_updates(samples, segmenter, settings, stop)
    if summary is None:
        return Outcome()
    return Outcome(FieldRun(samples, summary, segmenter.device_label, image.pixels))


def field_layer(
    viewer: napari.viewer.Viewer, source: Image, field: VisibleField, pixels: NDArray[Any]
) -> Image:
    """Return the layer of the crop: the one that is there already, or a new one above `source`."""
    origin = field.origin(source)
    for layer in viewer.layers:
        if not isinstance(layer, Image) or layer.metadata.get(KEY) != origin:
            continue
        if layer.data.shape[: layer.ndim] == field.own_plane.layer_shape:
            return layer
    axes = tuple(axis for axis, at in enumerate(field.plane.index) if at is not None)
    layer = Image(
        np.expand_dims(pixels, axes),
        name=f"{source.name}{field.plane.label()} [field]",
        rgb=source.rgb,
        metadata={KEY: origin},
        **field_placement(source, field),
    )
    if not source.rgb:
        layer.contrast_limits = source.contrast_limits
        layer.colormap = source.colormap
    viewer.layers.insert(viewer.layers.index(source) + 1, layer)
    return layer


@contextmanager
def keeping_view(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Leave the camera where it is; napari shows everything anew when an axis is added."""
    # Napari 0.9 moved the camera.
    camera = getattr(viewer, "scene", viewer).camera
    centre, zoom = camera.center, camera.zoom
    try:
        yield
    finally:
        camera.center, camera.zoom = centre, zoom


def field_placement(layer: Image, field: VisibleField) -> dict[str, Any]:
    """Return what `placement` does, for a crop at another level.

    A pixel of a level covers `factor` pixels of the layer, so that the middle of the first one
    lies (factor - 1) / 2 pixels further.
    """
    space = placement(layer, field.plane)
    scale, offset = np.array(space["scale"]), np.zeros(layer.ndim)
    for axis, start, factor in zip(field.plane.axes, field.start, field.factor, strict=True):
        offset[axis] = start * factor + (factor - 1) / 2
        scale[axis] *= factor
    turn = np.asarray(space["rotate"]) @ shear_matrix(space["shear"], layer.ndim)
    shift = turn @ (np.array(space["scale"]) * offset)
    return {**space, "scale": scale, "translate": np.asarray(space["translate"]) + shift}
