"""Suggest a threshold for a mask with more than two values."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from latentfm_core.images.intensity import VALUES_SHOWN
from latentfm_core.images.mask_levels import LABELS, are_numbers, levels_of

INSTANCES = (
    "To train with prompts for single objects, give the masks in [[data.sets]] with kind = "
    '"instances"; latentfm-evaluate and latentfm-calibrate read them with --mask-kind instances.'
)
"""Advice for numbered objects."""


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
    if values.size > 2 and (not lossy or high <= LABELS) and are_numbers(grey, values):
        return _numbers_advice(values)
    several = several_levels(grey)
    if several:
        return several
    if low != 0:
        return (
            f"A mask needs 0 for the background. If {low:g} is the background and {high:g} the "
            f"foreground, set --mask-threshold {middle:g} (data.mask_threshold)."
        )
    return (
        "A mask needs 0 and one other value. They look like grey levels between background and "
        "foreground; set --mask-threshold (data.mask_threshold): pixels above it are foreground, "
        f"for example --mask-threshold {middle:g}."
    )


def several_levels(grey: NDArray[Any]) -> str:
    """Return what to do if a mask ``(H, W)`` has several levels of foreground, else ``""``."""
    levels = levels_of(grey)
    if len(levels) < 3:
        return ""
    named = ", ".join(f"{level:g}" for level in levels[:VALUES_SHOWN])
    return (
        f"They cluster around the grey levels {named}, as if numbered objects or classes had been "
        "compressed (JPEG) or resized with smoothing. A threshold could lose some of them, so none "
        "is suggested. Export the mask again without either, as PNG or TIFF."
    )


def _numbers_advice(values: NDArray[Any]) -> str:
    low, ignored = float(values[0]), _ignored(values)
    background = "" if low == 0 else f"A mask needs 0 for the background. If {low:g} is it: "
    ignore = f"; if {ignored:g} marks pixels to ignore, replace it by 0 first" if ignored else ""
    return (
        f"They look like object or class numbers. {background}To use all of them as foreground, "
        f"set --mask-threshold {low + 0.5:g} (data.mask_threshold){ignore}. To keep classes "
        f"separate, name them in training: --set model.classes=NAME,NAME. {INSTANCES}"
    )


def _ignored(values: NDArray[Any]) -> float | None:
    """Return the usual value for ignored pixels, if it is separate from the others."""
    last = float(values[-1])
    return last if last in (255.0, 65535.0) and float(values[-2]) < last - 1 else None
