"""How a mask file marks its foreground."""

from __future__ import annotations

import numpy as np

from latentfm_core.images.decoded import Decoded
from latentfm_core.images.intensity import different_values
from latentfm_core.images.mask_levels import LABELS, are_numbers
from latentfm_core.types import Bool

WHITE = "white"
"""255, or the highest value of the file."""
ONE = "1"
_LEVELS = "levels above the threshold"
USUAL = {WHITE, ONE, _LEVELS}
"""How programs commonly write binary masks."""
_SCALES = (1, 255, 4095, 65535)


def level_scale(decoded: Decoded) -> float:
    """Return the highest value of the scale of a mask's grey levels; 0 if it has none.

    Numbers of objects or classes, colours and masks of two values have none.
    """
    pixels = decoded.pixels
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    values = different_values(grey)
    if values.size < 3 or are_numbers(grey, values):
        return 0
    high = float(values[-1])
    if decoded.stored_max is not None:
        high *= decoded.stored_max / (255 if grey.dtype == np.uint8 else 65535)
    return next((scale for scale in _SCALES if high <= scale), high)


def foreground_coding(decoded: Decoded, mask: Bool, threshold: float | None = None) -> str:
    """Return how a binary mask marks its foreground: a value, a colour, or empty without any.

    Parameters
    ----------
    mask
        ``(H, W)``, the foreground that was read from it.
    """
    at = int(mask.argmax())
    if not mask.size or not mask.flat[at]:
        return ""
    # Without a threshold one pixel shows all: the foreground has a single value.
    pixel = decoded.pixels.reshape(mask.size, -1)[at][:3].tolist()
    if len(pixel) == 3 and len(set(pixel)) > 1:
        return f"({', '.join(map(str, pixel))})"
    value, dtype = pixel[0], decoded.pixels.dtype
    full = 255 if dtype == np.uint8 else 65535
    is_white = dtype == np.bool_ or value in (255, full)
    if decoded.stored_max is not None and not is_white:
        value = round(value * decoded.stored_max / full)
    if threshold is not None and (is_white or value != 1 or threshold < LABELS):
        return _LEVELS
    return WHITE if is_white else f"{value:g}"
