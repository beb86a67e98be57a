"""2D planes of image layers: selection, reading, and placement in space."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pint import get_application_registry

from latentfm_core.errors import ImageError
from napari_latentfm.layers.pyramid import is_large, level_zero

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Layer


MAX_PLANE_PIXELS = 2**26
"""Largest plane that is segmented (8192 x 8192); every sample takes one byte per pixel."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """One 2D plane of an image layer with n spatial axes (the colour axis not counted).

    Attributes
    ----------
    index
        One entry per axis of the layer: None for the two axes of the plane, the position
        in pixels for every other axis.
    """

    shape: tuple[int, int]
    index: tuple[int | None, ...]
    layer_shape: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, int]:
        """The two axes of the plane, in ascending order."""
        first, second = (axis for axis, at in enumerate(self.index) if at is None)
        return first, second

    @property
    def fixed(self) -> dict[int, int]:
        """Position on every axis across the plane."""
        return {axis: at for axis, at in enumerate(self.index) if at is not None}

    @property
    def pyramid_axes(self) -> tuple[int, int] | None:
        """The axes along which results have coarser levels; None for a small plane."""
        return self.axes if is_large(self.shape) else None

    def facts(self) -> dict[str, Any]:
        """Return what identifies the plane in the metadata of a result, as JSON values."""
        return {"plane": list(self.index)}

    def embed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return ``(..., H, W)`` as ``(..., *layer axes)`` with length 1 across the plane."""
        leading = values.ndim - 2
        return np.expand_dims(values, tuple(axis + leading for axis in self.fixed))

    def first(self) -> Plane:
        """Return the first plane of the layer, whose `placement` is that of the whole layer."""
        return replace(self, index=tuple(None if at is None else 0 for at in self.index))

    def label(self) -> str:
        """Return a label of the plane within its layer, ``""`` for 2D images."""
        return "" if not self.fixed else f" [{', '.join(map(str, self.fixed.values()))}]"


def displayed_plane(
    layer: Image,
    dims: Dims,
    axes: tuple[int, int] | None = None,
    anywhere: Collection[int] = (),
    limit: int | None = MAX_PLANE_PIXELS,
) -> Plane:
    """Return the plane of `layer` that the viewer shows, the whole image in 2D.

    Parameters
    ----------
    axes
        Axes of the layer that form the plane, at the position of the sliders. None for those
        on screen.
    anywhere
        Axes on which the viewer's position is ignored and 0 is used.
    limit
        Largest number of pixels; None for no limit.

    Raises
    ------
    ImageError
        If no single plane of the layer is shown, or it is too large.
    """
    shape = tuple(level_zero(layer).shape[: layer.ndim])
    if layer.ndim < 2:
        raise ImageError(f"{layer.name!r} has {layer.ndim} axis; choose an image with 2 or more.")
    fixed: dict[int, int] = {}
    if layer.ndim > 2:
        shown = set(axes) if axes is not None else axes_on_screen(layer, dims)
        fixed = _fixed_axes(layer, dims, shape, shown, anywhere)
    index = tuple(fixed.get(axis) for axis in range(layer.ndim))
    height, width = (shape[axis] for axis in range(layer.ndim) if axis not in fixed)
    if limit is not None and height * width > limit:
        raise ImageError(
            f"{layer.name!r} has {height} x {width} pixels; the limit is {limit // 2**20} "
            "megapixels. Under Advanced, set Field to current view or to all, in tiles."
        )
    return Plane((height, width), index, shape)


def axes_on_screen(layer: Image, dims: Dims) -> set[int]:
    """Return the two axes of `layer` that the viewer shows.

    Raises
    ------
    ImageError
        If it does not show exactly two.
    """
    if dims.ndisplay != 2:
        raise ImageError(
            f"The viewer shows {layer.name!r} in 3D, but samples are drawn for a 2D plane. Press "
            "the 2D/3D button at the lower left, then choose the plane with the slider."
        )
    missing = dims.ndim - layer.ndim
    shown = {axis - missing for axis in dims.displayed}
    if min(shown) < 0:
        raise ImageError(
            f"The axes on screen are not those of a plane of {layer.name!r}. Press the roll "
            "button at the lower left until the image is on screen."
        )
    return shown


def _fixed_axes(
    layer: Image,
    dims: Dims,
    shape: Sequence[int],
    shown: Collection[int],
    anywhere: Collection[int],
) -> dict[int, int]:
    across = [axis for axis in range(layer.ndim) if axis not in shown]
    if _is_tilted(layer, across):
        raise ImageError(
            f"{layer.name!r} is rotated or sheared out of the plane on screen, which cuts across "
            "its pixels. Reset its rotation, shear and affine, or resample it."
        )
    position = position_of(layer, dims)
    fixed = {axis: 0 if axis in anywhere else position[axis] for axis in across}
    if any(not 0 <= at < shape[axis] for axis, at in fixed.items()):
        raise ImageError(
            f"The slider is outside {layer.name!r}. Move it until the image is on screen."
        )
    return fixed


def position_of(
    layer: Layer, dims: Dims, position: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Return a world position in pixels of the layer, possibly outside of it.

    By default it is the position of the sliders.
    """
    point = in_layer_units(layer, dims, dims.point if position is None else position)
    return tuple(math.floor(coordinate + 0.5) for coordinate in layer.world_to_data(point))


def _is_tilted(layer: Image, across: Sequence[int]) -> bool:
    """Return whether the transform to the world mixes axes across and in the plane."""
    origin = np.asarray(layer.data_to_world([0.0] * layer.ndim))
    columns = [np.asarray(layer.data_to_world(unit)) - origin for unit in np.eye(layer.ndim)]
    mixing = np.abs(np.stack(columns, axis=1))
    within = [axis for axis in range(layer.ndim) if axis not in across]
    worst = max(mixing[np.ix_(across, within)].max(), mixing[np.ix_(within, across)].max())
    return bool(worst > 1e-6 * mixing.max())


def in_layer_units(layer: Layer, dims: Dims, position: Sequence[float] | Matrix) -> Matrix:
    """Return a world position in the units of the layer."""
    point = np.asarray(position, float)[-layer.ndim :]
    world_units = getattr(dims, "units", None)
    if world_units is None or len(world_units) < layer.ndim:
        return point
    pairs = zip(world_units[-layer.ndim :], layer.units, strict=True)
    return point * [unit_factor(world, own) for world, own in pairs]


def to_viewer_units(layer: Layer, dims: Dims) -> Matrix:
    """Return the factor from the units of each axis of a layer to those of the viewer."""
    return np.asarray(1.0 / in_layer_units(layer, dims, np.ones(layer.ndim)))


def unit_factor(unit: Any, target: Any) -> float:
    """Return the factor from `unit` to `target`; 1 if they are not compatible."""
    if unit == target or not unit.is_compatible_with(target):
        return 1.0
    return float((1.0 * unit).to(target).magnitude)


def index_slices(index: Sequence[int | None]) -> tuple[Any, ...]:
    """Return the index of an array that selects the plane with `Plane.index`."""
    return tuple(slice(None) if position is None else position for position in index)


def plane_index(plane: Plane) -> tuple[Any, ...]:
    """Return the index that selects a plane from an array of the layer's shape."""
    return index_slices(plane.index)


def level_index(plane: Plane, shape: Sequence[int]) -> list[Any]:
    """Return the positions of a plane in a pyramid level of `shape`, None along its own axes.

    Levels may be smaller along the other axes too.
    """
    return [
        None if position is None else position * shape[axis] // plane.layer_shape[axis]
        for axis, position in enumerate(plane.index)
    ]


def load_units() -> None:
    """Load pint's units, which napari needs for every layer, in the calling thread.

    pint loads them at first use, and not thread-safely: a layer that is added while an image is
    read could fail.
    """
    registry = get_application_registry()  # type: ignore[no-untyped-call]  # pint lacks the type
    registry.parse_units("pixel")
