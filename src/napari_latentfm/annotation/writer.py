"""Writer for Labels layers in napari's File menu, which keeps the pixel size.

napari's TIFF writer drops scale and units (napari issue 5162).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.annotation.export import write_labels_file
from napari_latentfm.annotation.file_export import axes_by_steps, export_file
from napari_latentfm.annotation.provenance import facts_of, space_of
from napari_latentfm.layers.annotation_record import annotation_with
from napari_latentfm.layers.pyramid import finest


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one Labels layer to TIFF, PNG or NIfTI; the npe2 writer of this plugin.

    The provenance of an annotation is written next to it.

    Returns the files that were written.

    Parameters
    ----------
    data
        Labels; a lazy array is loaded.
    meta
        Attributes of the layer, as `Layer.as_layer_data_tuple` gives them.

    Raises
    ------
    LatentFMError
        If the labels cannot be written to that file or in that format.
    """
    annotation = annotation_with(data)
    facts = None if annotation is None else facts_of(annotation)
    labels = finest(data)
    if facts is not None:
        return [str(file) for file in export_file(Path(path), facts, labels)]
    scale = np.ones(labels.ndim) if meta.get("scale") is None else meta["scale"]
    space = space_of(labels.ndim, scale, meta.get("units"), meta.get("axis_labels"))
    write_labels_file(Path(path), labels, replace(space, orientation=axes_by_steps(scale)))
    return [path]
