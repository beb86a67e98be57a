"""Which axes of an array form planes, and the way back from planes to the array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_axes(
    values: NDArray[Any], shape: Sequence[int], along: Sequence[int], plane: Sequence[int]
) -> NDArray[Any]:
    """Put the planes of a result back where they lie in the array that was cut into them.

    Parameters
    ----------
    values
        ``(..., P, H, W)``, planes in row-major order over `along`.
    shape
        Of the array, without channels.
    along, plane
        Its axes that the planes were counted along, and its two axes within a plane, both
        ascending. The result has length 1 along any other axis.

    Returns
    -------
    NDArray
        A view ``(..., *axes)``, or a copy where the strides of `values` allow no view.
    """
    leading = values.ndim - 3
    lengths = [shape[axis] for axis in along]
    split = values.reshape(*values.shape[:leading], *lengths, *values.shape[-2:])
    present = [*along, *plane]
    order = [*range(leading), *(leading + present.index(axis) for axis in sorted(present))]
    missing = tuple(leading + axis for axis in range(len(shape)) if axis not in present)
    return np.expand_dims(split.transpose(order), missing)
