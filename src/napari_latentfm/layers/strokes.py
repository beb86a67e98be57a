"""The layer in which the annotator marks certain pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from latentfm_core.colours import CLASS_COLOURS, ROLE_COLOURS
from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.layers.stacking import STROKES_KEY, add_above

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

COLOURS_KEY = "latentfm_colours"
"""Metadata key of what the colours of a layer are for."""
POSITIVE_COLOUR, NOT_COLOUR = ROLE_COLOURS["positive"], ROLE_COLOURS["negative"]
"""Bright green and dark red, for strokes, boxes and points alike. They also differ in lightness,
and so with every kind of colour vision."""
SURE_COLOURS = (POSITIVE_COLOUR, *CLASS_COLOURS[1:])
"""Stroke colours: the positive colour for the first class, outline colours for the others."""
BRUSH_PER_SIDE = 48
"""Ratio of the image's longer side to the width of the brush."""


def sure_colour(label: int, own: Sequence[str] = ()) -> str:
    """Return the colour of certain pixels of a class.

    Parameters
    ----------
    label
        Label of the class, from 1 on.
    own
        The model's own colours of its classes; empty if it has none.
    """
    return own[label - 1] if label <= len(own) else SURE_COLOURS[(label - 1) % len(SURE_COLOURS)]


def not_colour(own: Sequence[str] = ()) -> str:
    """Return the colour of certain background, which no class has."""
    return next((each for each in (NOT_COLOUR, *SURE_COLOURS) if each not in own), NOT_COLOUR)


def strokes_of(
    viewer: ViewerModel, image: Image, shape: tuple[int, ...] | None = None
) -> Labels | None:
    """Return the layer of strokes on an image, or None.

    Parameters
    ----------
    shape
        Shape of the layer, others do not count; None for that of the image as it is now.
    """
    key = str(image.unique_id)
    shape = shape or tuple(level_zero(image).shape[: image.ndim])
    for layer in viewer.layers:
        if not isinstance(layer, Labels) or layer.metadata.get(STROKES_KEY) != key:
            continue
        if tuple(layer.data.shape) == shape:
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


def recolour_strokes(layer: Labels, classes: int, own: Sequence[str]) -> None:
    """Give the strokes the colours of another model; colours set by the user are kept."""
    if layer.metadata.get(COLOURS_KEY) != [classes, *own]:
        layer.metadata = {**layer.metadata, COLOURS_KEY: [classes, *own]}
        layer.colormap = _colormap(classes, own)


def add_strokes(
    viewer: ViewerModel, image: Image, plane: Plane, classes: int = 1, own: Sequence[str] = ()
) -> Labels:
    """Add an empty layer of strokes to all planes of an image.

    Parameters
    ----------
    own
        The model's own colours of its classes; empty if it has none.
    """
    layer = Labels(
        np.zeros(plane.layer_shape, np.uint8),
        name=f"{image.name} · strokes",
        colormap=_colormap(classes, own),
        opacity=0.6,
        metadata={STROKES_KEY: str(image.unique_id), COLOURS_KEY: [classes, *own]},
        visible=False,
        **placement(image, plane.first()),
    )
    layer.brush_size = max(2, round(max(plane.shape) / BRUSH_PER_SIDE))
    add_above(viewer, layer, image)
    # Hidden until it is complete, so that it is drawn once.
    layer.visible = True
    return layer


def _colormap(classes: int, own: Sequence[str]) -> DirectLabelColormap:
    colours: dict[int | None, Any] = {0: "transparent", None: "transparent"}
    colours[BACKGROUND] = not_colour(own)
    for number in range(classes):
        colours[FOREGROUND + number] = sure_colour(number + 1, own)
    return DirectLabelColormap(color_dict=colours, background_value=0)
