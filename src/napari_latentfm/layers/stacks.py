"""All planes of a 3D or time stack, along one or more of its axes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.images.axes import to_axes
from latentfm_core.types import ImageInput
from napari_latentfm.layers.pixels import read_plane
from napari_latentfm.layers.planes import Plane, displayed_plane, position_of

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image

_DEFAULT_NAME = re.compile(r"(axis )?-?\d+")


@dataclass(frozen=True)
class PlaneStack:
    """Planes of an image layer, one for each position along some of its axes.

    It has the interface of a `Plane`, with an axis for the planes before ``(H, W)``.

    Attributes
    ----------
    plane
        One of the planes; all have its positions on the axes that are not in `along`.
    along
        The axes of the layer along which every position is taken, ascending.
    """

    plane: Plane
    along: tuple[int, ...]

    def __len__(self) -> int:
        return math.prod(self.layer_shape[axis] for axis in self.along)

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of each plane in pixels."""
        return self.plane.shape

    @property
    def layer_shape(self) -> tuple[int, ...]:
        """Length of every axis of the layer."""
        return self.plane.layer_shape

    @property
    def index(self) -> tuple[int | None, ...]:
        """Index as of a plane, with None also along the axes of the stack."""
        positions = enumerate(self.plane.index)
        return tuple(None if axis in self.along else position for axis, position in positions)

    @property
    def pyramid_axes(self) -> None:
        """None, since stacks have no coarser levels."""
        return None

    def facts(self) -> dict[str, Any]:
        """Return what identifies the planes in the metadata of a result, as JSON values."""
        return {"plane": list(self.index), "along": list(self.along)}

    def at(self, number: int) -> Plane:
        """Return a plane by its number, in row-major order over `along`."""
        lengths = [self.layer_shape[axis] for axis in self.along]
        positions = dict(zip(self.along, np.unravel_index(number, lengths), strict=True))
        index = (
            int(positions.get(axis, at)) if at is not None else None
            for axis, at in enumerate(self.plane.index)
        )
        return replace(self.plane, index=tuple(index))

    def number(self, position: Sequence[int]) -> int | None:
        """Return the number of the plane at a position in pixels; None if outside."""
        for axis, at in enumerate(self.index):
            if at is not None and at != position[axis]:
                return None
        lengths = [self.layer_shape[axis] for axis in self.along]
        within = [position[axis] for axis in self.along]
        if any(not 0 <= at < length for at, length in zip(within, lengths, strict=True)):
            return None
        return int(np.ravel_multi_index(within, lengths))

    def number_of(self, plane: Plane) -> int | None:
        """Return the number of a plane; None if outside."""
        if plane.axes != self.plane.axes or plane.layer_shape != self.layer_shape:
            return None
        return self.number([-1 if at is None else at for at in plane.index])

    def embed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return ``(..., P, H, W)`` as ``(..., *layer axes)``."""
        return to_axes(values, self.layer_shape, self.along, self.plane.axes)

    def label(self) -> str:
        """Return a label of these planes within their layer, ``""`` for all default planes."""
        is_default = self.along == tuple(range(len(self.layer_shape) - 2))
        positions = (":" if at is None else str(at) for at in self.index)
        return "" if is_default else f" [{', '.join(positions)}]"


def part_indices(along: Sequence[int], ndim: int, shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return the index of each plane in a result's array, in the order of `PlaneStack.at`.

    Parameters
    ----------
    along, ndim
        The axes of the stack, and the number of axes of its layer.
    shape
        Of the array, which may have more leading axes. Indexed axes keep length 1.
    """
    leading = len(shape) - ndim
    indices = []
    for positions in product(*(range(shape[leading + axis]) for axis in along)):
        index = [slice(None)] * len(shape)
        for axis, at in zip(along, positions, strict=True):
            index[leading + axis] = slice(at, at + 1)
        indices.append(tuple(index))
    return indices


def all_planes(
    layer: Image, dims: Dims, along: tuple[int, ...], axes: tuple[int, int] | None = None
) -> PlaneStack:
    """Return the planes of `layer` along some axes, at the viewer's position on the others.

    Parameters
    ----------
    axes
        The two axes of a plane; None for those on screen.

    Raises
    ------
    ImageError
        As `displayed_plane`.
    """
    return PlaneStack(displayed_plane(layer, dims, axes, along), tuple(sorted(along)))


def number_on_screen(layer: Image, dims: Dims, stack: PlaneStack) -> int | None:
    """Return the number of the plane at the viewer's position, or None if there is none."""
    if len(dims.point) < layer.ndim:
        return None  # the layer is being removed
    return stack.number(position_of(layer, dims))


def read_part(layer: Image, stack: PlaneStack, number: int) -> ImageInput:
    """Read the pixels of one plane, and nothing else of a lazy array."""
    plane = stack.at(number)
    return replace(read_plane(layer, plane), name=f"{layer.name}{plane.label()}")


def plane_choices(ndim: int, channel: int | None = None) -> list[tuple[int, int]]:
    """Return the pairs of axes that can form a plane, the default first.

    The axis of channels, if there is one, belongs to none.
    """
    spatial = [axis for axis in range(ndim) if axis != channel]
    return sorted(combinations(spatial, 2), reverse=True)


def along_choices(
    ndim: int, axes: tuple[int, int], channel: int | None = None
) -> list[tuple[int, ...]]:
    """Return the axes along which planes can be taken: each axis, then all together.

    The axis of channels, if there is one, is left out.
    """
    across = tuple(axis for axis in range(ndim) if axis not in axes and axis != channel)
    if not across:
        return []
    single: list[tuple[int, ...]] = [(axis,) for axis in across]
    return single if len(across) < 2 else [*single, across]


def axis_name(layer: Image, axis: int) -> str:
    """Return the name of an axis: its label, or its number if it has none."""
    label = str(layer.axis_labels[axis])
    return f"axis {axis}" if _DEFAULT_NAME.fullmatch(label) else label
