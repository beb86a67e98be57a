"""Strokes: pixels that an annotator has marked as certain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.types import Float32, reject_masked

UNMARKED = 0
"""Unmarked pixel."""
BACKGROUND = 1
"""Certain background."""
FOREGROUND = 2
"""Certainly the first class; the k-th class is ``k + 1``."""

Labels = NDArray[np.uint8]


def check_strokes(strokes: NDArray[np.generic], shape: tuple[int, int], classes: int) -> Labels:
    """Return strokes as uint8 if valid for an image and a model.

    Parameters
    ----------
    strokes
        ``(H, W)`` integers: `UNMARKED`, `BACKGROUND`, or ``k + 1`` for the k-th class.
    shape
        ``(H, W)`` of the image in pixels.

    Raises
    ------
    ImageError
        If the shape differs, the labels are invalid or masked, or no pixel is marked.
    """
    reject_masked(strokes, "strokes")
    strokes = np.asarray(strokes)
    if strokes.shape != shape:
        raise ImageError(
            f"The strokes have {strokes.shape} pixels, the image has {shape}. Paint them on this "
            "image."
        )
    if strokes.dtype.kind not in "biu" or int(strokes.min(initial=0)) < 0:
        raise ImageError("Strokes must be whole numbers, 0 or more; 0 is unmarked.")
    highest = int(strokes.max(initial=0))
    if highest > classes + 1:
        raise ImageError(
            f"The strokes contain the label {highest}; this model accepts 0 (unmarked), 1 (certain "
            f"background) and 2 to {classes + 1} (certain class)."
        )
    if highest == 0:
        raise ImageError("There are no strokes yet. Paint certain foreground or background.")
    return strokes.astype(np.uint8)


def impose(probabilities: Float32, strokes: Labels) -> None:
    """Write strokes into probabilities, in place.

    Parameters
    ----------
    probabilities
        ``(H, W)`` of foreground, or ``(K, H, W)`` with the background first.
    strokes
        ``(H, W)``, as `check_strokes` returns them.
    """
    if probabilities.ndim == 2:
        probabilities[strokes == BACKGROUND] = 0
        probabilities[strokes > BACKGROUND] = 1
        return
    for channel, values in enumerate(probabilities):
        values[strokes > UNMARKED] = 0
        values[strokes == channel + 1] = 1
