"""Suggest a threshold for a mask with more than two values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from latentfm_core.types import Bool

_FEW = 8
"""In a lossless file, up to this many values are taken as separate labels, unless on edges only."""
_EDGES = 0.8
"""Minimum share of in-between pixels that touch both lower and higher ones for a soft edge."""
_FLAT = 0.7
"""Minimum share of in-between pixels with an equal neighbour for their values to be areas."""
_ABOVE_ZERO = 0.5


def advice_for(grey: NDArray[Any], values: NDArray[Any], lossy: bool) -> str:
    """Return advice for a mask that is not binary.

    A threshold is suggested only if it keeps every object.

    Parameters
    ----------
    grey
        ``(H, W)`` of the mask.
    values
        Its unique values, sorted.
    lossy
        Whether compression is lossy, so that values between two levels are noise.
    """
    low, high = float(values[0]), float(values[-1])
    middle = low + (high - low) / 2
    if values.size == 1:
        return (
            "A mask needs 0 for the background. Or set --mask-threshold (data.mask_threshold): "
            f"pixels above it are foreground, for example --mask-threshold {high - 1:g} for all."
        )
    if low != 0:
        return (
            f"A mask needs 0 for the background. If {low:g} is the background and {high:g} the "
            f"foreground, set --mask-threshold {middle:g} (data.mask_threshold)."
        )
    if (not lossy or high <= _FEW) and _are_numbers(grey, values):
        ignored = _ignored(values)
        return (
            "They look like object or class numbers. To use all of them as foreground, set "
            f"--mask-threshold {_ABOVE_ZERO:g} (data.mask_threshold)"
            + (
                f"; where {ignored:g} marks pixels to ignore, replace it by 0 first"
                if ignored
                else ""
            )
            + ". To keep classes separate, name them in training: --set model.classes=NAME,NAME."
        )
    return (
        "A mask needs 0 and one other value. They look like grey levels between background and "
        "foreground; set --mask-threshold (data.mask_threshold): pixels above it are foreground, "
        f"for example --mask-threshold {middle:g}."
    )


def _are_numbers(grey: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether values are object or class numbers rather than levels along an edge."""
    if grey.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return False
    if float(values[-1]) < 2 * values.size:
        return True
    between = (grey > values[0]) & (grey < values[-1])
    if values.size <= _FEW:
        return not _are_edges(grey, between)
    inner = between[:, :-1]
    if not inner.any():
        return False
    same = grey[:, :-1] == grey[:, 1:]
    return bool(same[inner].mean() >= _FLAT)


def _are_edges(grey: NDArray[Any], between: Bool) -> bool:
    """Return whether in-between values are the edges of a mask that was resized smoothly."""
    touches = (minimum_filter(grey, 3) < grey) & (maximum_filter(grey, 3) > grey)
    return bool(between.any()) and bool(touches[between].mean() >= _EDGES)


def _ignored(values: NDArray[Any]) -> float | None:
    """Return the usual value for ignored pixels, if it is separate from the others."""
    last = float(values[-1])
    return last if last in (255.0, 65535.0) and float(values[-2]) < last - 1 else None
