"""The strokes on the image under review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import CorrectionInfo, painted
from latentfm_core.correction.strokes import FOREGROUND
from napari_latentfm.layers.annotation_record import PlaneIndex
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
    planes = dict(_fitting(layer, reviewed, corrections))
    if not planes:
        return
    # The smallest part of the stack with all these planes: each axis across them has its range.
    window = [
        slice(0, side) if None in at else slice(min(at), max(at) + 1)
        for at, side in zip(zip(*planes, strict=True), layer.data.shape, strict=True)
    ]
    before = layer.data[tuple(window)]
    wanted = before.copy()
    for index, strokes in planes.items():
        pairs = zip(index, window, strict=True)
        inner = [at if at is None else at - side.start for at, side in pairs]
        wanted[index_slices(inner)] = strokes
    paint_where(layer, window, wanted != before, wanted)


def _fitting(
    layer: Labels, reviewed: Reviewed, corrections: Iterable[CorrectionInfo]
) -> Iterator[tuple[PlaneIndex, NDArray[np.uint8]]]:
    """Yield the strokes that fit the image and the model, by plane."""
    highest = FOREGROUND - 1 + len(reviewed.result.samples.classes)
    across = [axis not in reviewed.plane.axes for axis in range(layer.ndim)]
    for info in corrections:
        if [at is not None for at in info.index] != across:
            continue
        pairs = zip(info.index, layer.data.shape, strict=True)
        strokes = painted(info, reviewed.plane.shape)
        inside = all(at is None or 0 <= at < side for at, side in pairs)
        if inside and strokes is not None and strokes.max() <= highest:
            yield info.index, strokes
