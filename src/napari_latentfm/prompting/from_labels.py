"""A label of a Labels layer as a prompt: a rough mask, or strokes if it is a thin scribble."""

from __future__ import annotations

from typing import Literal

import numpy as np
from napari.layers import Labels
from scipy import ndimage

from latentfm_core.errors import ImageError
from latentfm_core.prompts.field import extent
from latentfm_core.types import Bool
from napari_latentfm.layers.planes import Plane, plane_index

As = Literal["automatic", "rough mask", "strokes"]
CHOICES: tuple[As, ...] = ("automatic", "rough mask", "strokes")
THIN = 0.2
"""A scribble is narrower than this share of its longer side, at its thickest place."""


def label_on(layer: Labels, plane: Plane, image_name: str) -> Bool:
    """Return the pixels of the chosen label on a plane as ``(H, W)`` bool.

    Raises
    ------
    ImageError
        If the layer does not fit the image, or has none of its chosen label there.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    if tuple(data.shape) == plane.layer_shape:
        values = np.asarray(data[plane_index(plane)])
    elif tuple(data.shape) == plane.shape:
        values = np.asarray(data)
    else:
        raise ImageError(
            f"{layer.name!r} has the shape {tuple(data.shape)}, but {image_name!r} has "
            f"{plane.layer_shape}. Choose a Labels layer that was drawn on this image."
        )
    found = np.asarray(values == layer.selected_label)
    if not layer.selected_label or not found.any():
        raise ImageError(
            f"{layer.name!r} has no pixel of label {layer.selected_label} on this plane. Choose "
            "the label in the controls of the layer, and try again."
        )
    return found


def is_scribble(mask: Bool) -> bool:
    """Return whether a mask is a thin line rather than the outline of an object."""
    box = extent(mask)
    if box is None:
        return False
    top, left, bottom, right = (int(side) for side in box)
    part = np.pad(mask[top:bottom, left:right], 1)
    width = 2 * float(ndimage.distance_transform_edt(part).max())
    return width < THIN * max(bottom - top, right - left)
