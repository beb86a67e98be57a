"""Map the planes of an array back to its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_axes(
    values: NDArray[Any], shape: Sequence[int], along: Sequence[int], plane: Sequence[int]
) -> NDArray[Any]:
    """Put planes back into the axes of the array they were cut from.

    Returns a view ``(..., *axes)``, or a copy where the strides of `values` prevent a view.

    Parameters
    ----------
    values
        ``(..., P, H, W)``, planes in row-major order over `along`.
    shape
        Shape of the array, without channels.
    along, plane
        Axes across planes, and the two axes within a plane, both ascending. The result has
        length 1 along any other axis.
    """
    leading = values.ndim - 3
    lengths = [shape[axis] for axis in along]
    split = values.reshape(*values.shape[:leading], *lengths, *values.shape[-2:])
    present = [*along, *plane]
    order = [*range(leading), *(leading + present.index(axis) for axis in sorted(present))]
    missing = tuple(leading + axis for axis in range(len(shape)) if axis not in present)
    return np.expand_dims(split.transpose(order), missing)
