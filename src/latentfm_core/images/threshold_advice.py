"""Suggest a threshold for a mask with more than two values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.images.intensity import VALUES_SHOWN
from latentfm_core.images.mask_levels import LABELS, SCATTER, are_numbers, levels_of

INSTANCES = (
    "To train with prompts for single objects, give the masks in [[data.sets]] with kind = "
    '"instances"; latentfm-evaluate and latentfm-calibrate read them with --mask-kind instances.'
)
"""Advice for numbered objects."""


_FEW = 10
"""Most grey levels of a mask without smooth edges."""
_BETWEEN = 0.2
_ROUGH = 0.1
"""Minimum shares of levels between the ends in a photograph, and of extremes along columns among
these."""
_CORNERS = 3
_SMALL = 128
"""Class numbers are below it where 255 marks pixels to ignore."""


def advice_for(grey: NDArray[Any], values: NDArray[Any], lossy: bool) -> tuple[str, bool]:
    """Return advice for a mask that is not binary, and whether it is to name classes.

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
    if advice := _background_advice(grey, values):
        return advice, False
    if values.size > 2 and (not lossy or values[-1] <= LABELS) and are_numbers(grey, values):
        return _numbers_advice(values), True
    return _levels_advice(grey, values), False


def _levels_advice(grey: NDArray[Any], values: NDArray[Any]) -> str:
    """Return advice for grey levels; for the parameters see `advice_for`."""
    low, high = float(values[0]), float(values[-1])
    middle = low + (high - low) / 2
    if values.size == 1:
        return (
            "A mask needs 0 for the background. Or set --mask-threshold (data.mask_threshold): "
            f"pixels above it are foreground, for example --mask-threshold {high - 1:g} for all."
        )
    if _is_photograph(grey, values):
        return (
            "Its grey levels vary from pixel to pixel as in a photograph, so it is not a mask, and "
            "no threshold is suggested. Choose the folder of the masks, or save this one again: 0 "
            "for the background and one other value for the foreground."
        )
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


def class_advice(labels: NDArray[Any], values: NDArray[Any]) -> str:
    """Return advice for a mask of classes with other numbers; parameters as of `advice_for`."""
    return (
        _background_advice(labels, values)
        or ignore_advice(values)
        or "Renumber the mask, or name all classes."
    )


def _background_advice(grey: NDArray[Any], values: NDArray[Any]) -> str:
    """Return what to do if the highest value seems to be the background, else ``""``.

    It then fills the corners, and more pixels than the lowest value. For the parameters see
    `advice_for`.
    """
    high = values[-1]
    corners = int(np.count_nonzero(grey[np.ix_((0, -1), (0, -1))] == high))
    if values.size < 3 or min(grey.shape) < 2 or corners < _CORNERS:
        return ""
    if np.count_nonzero(grey == high) <= np.count_nonzero(grey == values[0]):
        return ""  # such as pixels outside the field of view
    return (
        f"{high:g} fills the corners of the image and more pixels than {values[0]:g}, so it seems "
        "to be the background, and the lower values to be objects. Save the mask with 0 for the "
        "background and 1, 2, ... for the objects."
    )


def ignore_advice(values: NDArray[Any]) -> str:
    """Return what to do if the highest value seems to mark pixels to ignore, else ``""``.

    Parameters
    ----------
    values
        Sorted unique numbers of classes.
    """
    numbers = values[values > 0]
    if numbers.size < 2 or float(numbers[-1]) not in (255.0, 65535.0) or numbers[-2] >= _SMALL:
        return ""
    return (
        f"In some data sets {numbers[-1]:g} marks pixels to ignore, for which there is no label "
        f"here: replace {numbers[-1]:g} by 0 (background), or leave these images out."
    )


def _is_photograph(grey: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether many levels between the ends rise and fall from pixel to pixel.

    Those of smooth edges rise or fall steadily, and areas of numbers are flat apart from noise of
    compression.
    """
    low, high = float(values[0]), float(values[-1])
    noise = (high - low) * SCATTER / 255
    between = (grey > low + noise) & (grey < high - noise)
    if values.size <= _FEW or between.mean() < _BETWEEN:
        return False
    down = np.sign(np.diff(grey.astype(np.float32), axis=0))
    extreme = down[1:] * down[:-1] < 0
    return bool(extreme[between[1:-1]].mean() >= _ROUGH)


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
    low, ignore = float(values[0]), f"{ignore_advice(values)} ".lstrip()
    background = "" if low == 0 else f"A mask needs 0 for the background. If {low:g} is it: "
    return (
        f"They look like object or class numbers. {ignore}{background}To use all of them as "
        f"foreground, set --mask-threshold {low + 0.5:g} (data.mask_threshold). To keep classes "
        f"separate, name them in training: --set model.classes=NAME,NAME. {INSTANCES}"
    )
