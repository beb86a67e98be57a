"""Find an object again that has moved between two planes of a stack."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from latentfm_core.prompts.field import extent
from latentfm_core.prompts.prompt import Box
from latentfm_core.types import Bool

MARGIN = 1.1
"""Sides of the box around a piece that was found without a prompt, in sides of the piece."""

MAX_SHIFT = 3.0
"""Longest way of the centre between two planes, in longer sides of the last box."""

MAX_RATIO = 6.0
"""Largest ratio of the areas in two planes between which the object has moved."""


def grown(box: Box, factor: float) -> Box:
    """Return a box with the same centre and `factor` times the sides."""
    top, left, bottom, right = box
    rows, columns = (factor - 1) * (bottom - top) / 2, (factor - 1) * (right - left) / 2
    return top - rows, left - columns, bottom + rows, right + columns


def box_where_it_moved(found: Bool, last: Bool) -> Box | None:
    """Return a box around the piece of a mask that an object most probably is.

    Parameters
    ----------
    found
        ``(H, W)``, what the model finds without a prompt.
    last
        ``(H, W)``, the object in the plane before; not empty.

    Returns
    -------
    Box or None
        Around the piece nearest to the last mask; None if all are too far away, or have too
        different an area.
    """
    before = extent(last)
    if before is None:
        return None
    side = max(before[2] - before[0], before[3] - before[1])
    centre, area = np.array(ndimage.center_of_mass(last)), np.count_nonzero(last)
    pieces, count = ndimage.label(found)
    best, nearest = None, MAX_SHIFT * side
    for number in range(1, count + 1):
        piece = pieces == number
        ratio = abs(math.log(np.count_nonzero(piece) / area))
        away = float(np.linalg.norm(np.array(ndimage.center_of_mass(piece)) - centre))
        if ratio <= math.log(MAX_RATIO) and away <= nearest:
            best, nearest = piece, away
    around = None if best is None else extent(best)
    return None if around is None else grown(around, MARGIN)
