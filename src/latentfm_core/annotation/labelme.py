"""Annotations as LabelMe JSON: one file for each image, with polygons."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.annotation.coco import write_json
from latentfm_core.annotation.labelled import LabelledImage, check_plane
from latentfm_core.annotation.reading import check_no_provenance
from latentfm_core.measures.objects import objects_of
from latentfm_core.measures.outlines import polygon
from latentfm_core.output.paths import printable

VERSION = "5.5.0"
"""LabelMe version of this format."""


def write_labelme(path: Path, labelled: LabelledImage, separate: bool = False) -> None:
    """Write one image as LabelMe JSON, atomically.

    Pieces of an object share a ``group_id``; holes are cut open. The image is named by its path
    relative to the file.

    Raises
    ------
    OutputError
        If the labels are a stack, the file cannot be written, or it is the provenance of an
        annotation.
    """
    check_plane(labelled, "LabelMe")
    check_no_provenance(path)
    shapes: list[dict[str, Any]] = []
    for number, (label, pieces) in enumerate(objects_of(labelled.labels, separate), 1):
        for piece in pieces:
            shape = {
                "label": printable(labelled.name(label)),
                "points": np.round(polygon(piece)[:, ::-1], 3).tolist(),
                "group_id": number if len(pieces) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            shapes.append(shape)
    height, width = labelled.labels.shape
    content = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": _relative(labelled, path.parent),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    write_json(path, content)


def _relative(labelled: LabelledImage, folder: Path) -> str:
    if labelled.path is None:
        return printable(labelled.image)
    try:
        found = os.path.relpath(labelled.path.absolute(), folder.absolute())
    except ValueError:  # another drive
        found = labelled.image
    return printable(found.replace(os.sep, "/"))
