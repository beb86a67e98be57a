"""The layer in which the annotator paints what is sure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import CorrectionInfo, painted
from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.annotation.layer import plane_index
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import placement
from napari_latentfm.layers.stacking import STROKES_KEY, add_above
from napari_latentfm.results.session import Reviewed, ReviewSession

NOT_COLOUR = "#d55e00"
SURE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#999999")
"""Okabe-Ito; vermilion, which says "not", is left out."""
BRUSH_PER_SIDE = 48
"""A brush as wide as this part of the image's longer side."""


def stroke_layer(session: ReviewSession, create: bool = True) -> Labels | None:
    """Return the strokes of the image under review, over all its planes.

    Parameters
    ----------
    session
        Whose review.
    create
        Whether to add the layer if there is none.
    """
    reviewed = session.current
    if reviewed is None:
        return None
    key = str(reviewed.layer.unique_id)
    for layer in session.viewer.layers:
        if isinstance(layer, Labels) and layer.metadata.get(STROKES_KEY) == key:
            return layer
    return _add(session, reviewed, key) if create else None


def painted_strokes(session: ReviewSession) -> NDArray[np.uint8] | None:
    """Return the strokes on the plane under review, ``(H, W)``; None if there are none."""
    layer, reviewed = stroke_layer(session, create=False), session.current
    if layer is None or reviewed is None:
        return None
    strokes = np.asarray(layer.data[plane_index(reviewed.plane)])
    return strokes.astype(np.uint8) if strokes.any() else None


def repaint(layer: Labels, reviewed: Reviewed, told: Iterable[CorrectionInfo]) -> None:
    """Paint strokes of an annotation's provenance again, as one undo step of their layer.

    Planes of which nothing is told keep what is painted there. Strokes that do not fit the
    image, or are of a class that the model does not have, are left out.
    """
    wanted = layer.data.copy()
    highest = FOREGROUND - 1 + len(reviewed.result.samples.classes)
    axes = reviewed.plane.axes
    for info in told:
        fixed = [place for place in info.index if place is not None]
        if len(info.index) != layer.ndim or any(info.index[axis] is not None for axis in axes):
            continue
        inside = all(at is None or at < n for at, n in zip(info.index, wanted.shape, strict=True))
        strokes = painted(info, reviewed.plane.shape)
        if strokes is None or not inside or any(at < 0 for at in fixed) or strokes.max() > highest:
            continue
        wanted[tuple(slice(None) if at is None else at for at in info.index)] = strokes
    paint_where(layer, [slice(0, side) for side in wanted.shape], wanted != layer.data, wanted)


def _add(session: ReviewSession, reviewed: Reviewed, key: str) -> Labels:
    classes = len(reviewed.result.samples.classes)
    colours: dict[int | None, Any] = {0: "transparent", None: "transparent"}
    colours[BACKGROUND] = NOT_COLOUR
    for place in range(classes):
        colours[FOREGROUND + place] = SURE_COLOURS[place % len(SURE_COLOURS)]
    layer = Labels(
        np.zeros(reviewed.plane.layer_shape, np.uint8),
        name=f"{reviewed.layer.name} · strokes",
        colormap=DirectLabelColormap(color_dict=colours, background_value=0),
        opacity=0.6,
        metadata={STROKES_KEY: key},
        **placement(reviewed.layer, reviewed.plane.first()),
    )
    layer.brush_size = max(2, round(max(reviewed.plane.shape) / BRUSH_PER_SIDE))
    add_above(session.viewer, layer, reviewed.layer)
    return layer
