"""The strokes on the image under review."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import CorrectionInfo, painted
from latentfm_core.correction.strokes import FOREGROUND
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import index_slices, plane_index
from napari_latentfm.layers.strokes import add_strokes, recolour_strokes, strokes_of
from napari_latentfm.results.session import Reviewed, ReviewSession


def stroke_layer(session: ReviewSession, create: bool = True) -> Labels | None:
    """Return the strokes of the image under review, over all its planes.

    Parameters
    ----------
    create
        Whether to add the layer if there is none.
    """
    reviewed = session.current
    if reviewed is None:
        return None
    layer = strokes_of(session.viewer, reviewed.layer, reviewed.plane.layer_shape)
    samples = reviewed.result.samples
    if layer is not None:
        recolour_strokes(layer, len(samples.classes), samples.colours)
    if layer is not None or not create:
        return layer
    return add_strokes(
        session.viewer, reviewed.layer, reviewed.plane, len(samples.classes), samples.colours
    )


def painted_strokes(session: ReviewSession) -> NDArray[np.uint8] | None:
    """Return the strokes on the plane under review, ``(H, W)``; None if there are none."""
    layer, reviewed = stroke_layer(session, create=False), session.current
    if layer is None or reviewed is None:
        return None
    strokes = np.asarray(layer.data[plane_index(reviewed.plane)])
    return strokes.astype(np.uint8) if strokes.any() else None


def repaint(layer: Labels, reviewed: Reviewed, corrections: Iterable[CorrectionInfo]) -> None:
    """Restore the strokes of an annotation's provenance, as one undo step of their layer.

    Planes without such strokes do not change. Strokes that do not fit the image, or are of a
    class that the model does not have, are ignored.
    """
    wanted = layer.data.copy()
    highest = FOREGROUND - 1 + len(reviewed.result.samples.classes)
    axes = reviewed.plane.axes
    for info in corrections:
        fixed = [at for at in info.index if at is not None]
        if len(info.index) != layer.ndim or any(info.index[axis] is not None for axis in axes):
            continue
        inside = all(at is None or at < n for at, n in zip(info.index, wanted.shape, strict=True))
        strokes = painted(info, reviewed.plane.shape)
        if strokes is None or not inside or any(at < 0 for at in fixed) or strokes.max() > highest:
            continue
        wanted[index_slices(info.index)] = strokes
    paint_where(layer, [slice(0, side) for side in wanted.shape], wanted != layer.data, wanted)
