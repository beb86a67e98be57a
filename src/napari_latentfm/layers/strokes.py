"""The layer in which the annotator marks certain pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.stacking import STROKES_KEY, add_above

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

NOT_COLOUR = "#d55e00"
SURE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#999999")
"""Okabe-Ito colours without vermilion, which is that of "not"."""
BRUSH_PER_SIDE = 48
"""Ratio of the image's longer side to the width of the brush."""


def strokes_of(viewer: ViewerModel, image: Image) -> Labels | None:
    """Return the layer of strokes on an image, or None."""
    key = str(image.unique_id)
    for layer in viewer.layers:
        if isinstance(layer, Labels) and layer.metadata.get(STROKES_KEY) == key:
            return layer
    return None


def take_brush(viewer: ViewerModel, layer: Labels, label: int) -> None:
    """Activate the brush for one label of the strokes."""
    # On top, or the strokes would be hidden below the results.
    viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    viewer.layers.selection.active = layer
    layer.visible = True
    layer.selected_label = label
    layer.mode = "paint"


def add_strokes(viewer: ViewerModel, image: Image, plane: Plane, classes: int = 1) -> Labels:
    """Add an empty layer of strokes to all planes of an image.

    Parameters
    ----------
    viewer, image, plane
        The viewer, the image and any of its planes.
    classes
        Number of classes of the strokes.
    """
    colours: dict[int | None, Any] = {0: "transparent", None: "transparent"}
    colours[BACKGROUND] = NOT_COLOUR
    for number in range(classes):
        colours[FOREGROUND + number] = SURE_COLOURS[number % len(SURE_COLOURS)]
    layer = Labels(
        np.zeros(plane.layer_shape, np.uint8),
        name=f"{image.name} · strokes",
        colormap=DirectLabelColormap(color_dict=colours, background_value=0),
        opacity=0.6,
        metadata={STROKES_KEY: str(image.unique_id)},
        visible=False,
        **placement(image, plane.first()),
    )
    layer.brush_size = max(2, round(max(plane.shape) / BRUSH_PER_SIDE))
    add_above(viewer, layer, image)
    # Hidden until it is complete, so that it is drawn once.
    layer.visible = True
    return layer
