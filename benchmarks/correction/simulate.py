"""Simulate a careful annotator who draws a stroke through the largest error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import skeletonize

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND

Bool = NDArray[np.bool_]
Strokes = NDArray[np.uint8]

REACH = 20 / 256
"""Half the length of a stroke, as a share of the image's longer side."""
RADIUS = 2 / 256
"""Radius of the brush, as a share of the image's longer side."""
LEAST = 12 / 256**2
"""Share of the image below which an error is not worth a stroke."""


def next_stroke(mean_mask: Bool, expert: Bool, strokes: Strokes) -> Strokes | None:
    """Return `strokes` with one more through the middle of the largest error.

    The stroke follows the skeleton of the largest connected region where the mean mask and the
    expert differ, near its deepest point, and never contradicts the expert.

    Parameters
    ----------
    mean_mask, expert
        ``(H, W)`` bool.
    strokes
        ``(H, W)`` uint8, the strokes so far.

    Returns
    -------
    ndarray of uint8 or None
        None if no remaining error is worth a stroke.
    """
    errors = label((mean_mask != expert) & (strokes == 0))
    sizes = np.bincount(errors.ravel())[1:]
    if not sizes.size or sizes.max() < LEAST * errors.size:
        return None
    region = errors == 1 + sizes.argmax()
    side = max(region.shape)
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    deepest = np.unravel_index(int(depth.argmax()), depth.shape)
    middle = skeletonize(region)
    middle[deepest] = True
    rows, columns = np.indices(region.shape)
    far = np.hypot(rows - deepest[0], columns - deepest[1]) > max(1.0, REACH * side)
    pieces = label(middle & ~far, connectivity=2)
    line = ndimage.binary_dilation(
        pieces == pieces[deepest], iterations=max(1, round(RADIUS * side))
    )
    said = strokes.copy()
    said[line & (expert == expert[deepest])] = FOREGROUND if expert[deepest] else BACKGROUND
    return said


def painted(mask: Bool, strokes: Strokes) -> Bool:
    """Return the mask with the strokes painted into it by hand."""
    return np.where(strokes > 0, strokes == FOREGROUND, mask)
