"""Pieces of the outline of a sample that are more than specks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.types import Bool

SMALLEST = 0.05
"""Pieces below this share of the largest one are specks."""


def large_pieces(mask: Bool) -> tuple[NDArray[Any], list[int]]:
    """Return the numbered pieces of ``(H, W)``, and the numbers of the large ones, largest first.

    These are extents for the network, not objects to count: pieces that touch at a corner are two.
    """
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())[1:]
    large = np.flatnonzero(sizes >= SMALLEST * sizes.max(initial=0))
    return pieces, [int(each) + 1 for each in large[np.argsort(-sizes[large], kind="stable")]]
