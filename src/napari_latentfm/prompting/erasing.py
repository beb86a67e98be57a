"""Removal of the pixels of an object from the annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_latentfm.annotation.layer import annotation_on
from napari_latentfm.annotation.writing import write_labels, write_pixels
from napari_latentfm.layers.painting import check_unlocked
from napari_latentfm.layers.planes import plane_index

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.plane import Place


def erase_label(session: ReviewSession, place: Place, label: int, reviewed: bool) -> bool:
    """Remove a label from the annotation of a plane; return whether any pixel had it.

    Parameters
    ----------
    reviewed
        Whether a result of the plane is under review.

    Raises
    ------
    LatentFMError
        If the annotation is locked.
    """
    layer = annotation_on(session.viewer, place.layer, place.plane)
    if layer is None:
        return False
    if reviewed:
        nothing = np.zeros(place.plane.shape, bool)
        return write_labels(session, nothing, classes=(label,), origin="mask") > 0
    check_unlocked(layer)
    # Ctrl+Z acts on the active layer, and must undo this.
    session.viewer.layers.selection.active = layer
    rows, columns = np.nonzero(layer.data[plane_index(place.plane)] == label)
    write_pixels(layer, place.plane, rows, columns, np.zeros(rows.size, layer.data.dtype))
    return True
