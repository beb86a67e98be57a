"""Which threshold a mask of more than two values needs, by what the file holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW = 8
"""Up to so many values in a file without loss, each is taken to mean something of its own."""
_FLAT = 0.7
"""Share of pixels of in-between values whose neighbour is equal, from which on these are areas."""
_ABOVE_ZERO = 0.5


def advice_for(grey: NDArray[Any], values: NDArray[Any], lossy: bool) -> str:
    """Return what to do with a mask that is not binary.

    Parameters
    ----------
    grey
        ``(H, W)`` of the mask.
    values
        Its different values, sorted.
    lossy
        Whether the file is compressed with loss, so that values between two levels are noise.

    Returns
    -------
    str
        Sentences for the message. A threshold is named only where it keeps every object.
    """
    low, high = float(values[0]), float(values[-1])
    middle = _round(low + (high - low) / 2)
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
    if not lossy and _are_numbers(grey, values):
        ignored = _ignored(values)
        return (
            "They look like numbers of objects or classes. To take all of them as foreground, set "
            f"--mask-threshold {_ABOVE_ZERO:g} (data.mask_threshold)"
            + (
                f"; where {ignored:g} marks pixels without an answer, replace it by 0 before"
                if ignored
                else ""
            )
            + ". To tell classes apart, name them in training: --set 'model.classes=[...]'."
        )
    return (
        "A mask needs 0 and one other value. They look like grey levels between background and "
        "foreground; set --mask-threshold (data.mask_threshold): pixels above it are foreground, "
        f"for example --mask-threshold {middle:g}."
    )


def _are_numbers(grey: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether values number objects or classes, rather than being levels of one edge."""
    if grey.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return False
    if values.size <= _FEW or float(values[-1]) < 2 * values.size:
        return True
    between = (grey > values[0]) & (grey < values[-1])
    inner = between[:, :-1]
    if not inner.any():
        return False
    same = grey[:, :-1] == grey[:, 1:]
    return bool(same[inner].mean() >= _FLAT)


def _ignored(values: NDArray[Any]) -> float | None:
    """Return the value that usually marks pixels to ignore, if it stands apart from the others."""
    last = float(values[-1])
    return last if last in (255.0, 65535.0) and float(values[-2]) < last - 1 else None


def _round(value: float) -> float:
    return float(f"{value:.6g}")
