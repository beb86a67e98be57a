"""Transforms that place results on their image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.layers.stacks import PlaneStack

Matrix = NDArray[np.float64]


def placement(layer: Image, plane: Plane | PlaneStack) -> dict[str, Any]:
    """Return the transform, units and axis labels that place results on `plane`.

    The keys are keyword arguments and attributes of every napari layer.
    """
    offset = np.array([0 if at is None else at for at in plane.index], float)
    rotate, scale = np.asarray(layer.rotate), np.asarray(layer.scale, float)
    # napari maps data to the world by affine(rotate @ shear @ diag(scale) @ x + translate).
    shift = rotate @ shear_matrix(layer.shear, layer.ndim) @ (scale * offset)
    return {
        "scale": scale,
        "translate": np.asarray(layer.translate, float) + shift,
        "rotate": rotate,
        "shear": np.asarray(layer.shear, float),
        "affine": np.asarray(layer.affine.affine_matrix, float),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }


def place(layer: Layer, space: Mapping[str, Any]) -> None:
    """Give a layer a `placement`; what is equal already is not set, since that emits events."""
    for key, value in space.items():
        if not _equal(key, getattr(layer, key), value, layer.ndim):
            setattr(layer, key, value)


def _equal(key: str, old: Any, new: Any, ndim: int) -> bool:
    if isinstance(new, tuple):
        return tuple(map(str, old)) == tuple(map(str, new))
    if key == "shear":
        old, new = shear_matrix(old, ndim), shear_matrix(new, ndim)
    return np.array_equal(np.asarray(old), new)


def with_leading_axis(space: dict[str, Any], label: str) -> dict[str, Any]:
    """Return a `placement` with an additional first axis, with step 1 and in pixels."""
    ndim = len(space["scale"])
    return {
        "scale": np.concatenate([[1.0], space["scale"]]),
        "translate": np.concatenate([[0.0], space["translate"]]),
        "rotate": _behind_identity(space["rotate"]),
        "shear": _behind_identity(shear_matrix(space["shear"], ndim)),
        "affine": _behind_identity(space["affine"]),
        "units": ("pixel", *space["units"]),
        "axis_labels": (label, *space["axis_labels"]),
    }


def shear_matrix(shear: Any, ndim: int) -> Matrix:
    """Return a shear as a matrix; napari gives a matrix or its upper triangle."""
    given = np.asarray(shear, np.float64)
    if given.ndim == 2:
        return given
    matrix = np.eye(ndim)
    matrix[np.triu_indices(ndim, k=1)] = given
    return matrix


def _behind_identity(matrix: Matrix) -> Matrix:
    larger = np.eye(len(matrix) + 1)
    larger[1:, 1:] = matrix
    return larger
