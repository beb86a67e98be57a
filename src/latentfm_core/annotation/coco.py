"""Annotations as COCO JSON (https://cocodataset.org/#format-data), as run lengths or polygons.

Run lengths are written uncompressed, as COCO has them for crowds: every reader of COCO takes
them, and they need no other package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latentfm_core.annotation.labelled import LabelledImage, check_plane, check_read_back
from latentfm_core.annotation.naming import LabelNames, labels_named
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.untrusted import parse_json
from latentfm_core.measures.objects import objects_of
from latentfm_core.measures.outlines import Piece, polygon
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now
from latentfm_core.versions import package_version

Outline = Literal["rle", "polygons"]


class CocoFile:
    """A COCO file of one or many images, built image by image.

    Parameters
    ----------
    outline
        ``"rle"`` keeps each pixel; ``"polygons"`` can be edited in other programs and follow
        the outline within a pixel, with holes cut open.
    separate
        Whether each connected piece is a separate annotation; else one for each label.
    names
        Receives the names of the labels; None for new ones.

    Notes
    -----
    Each class is a category, whose id is its lowest label; all objects of a class are of it. A
    label has one name in all images (`LabelNames`).
    """

    def __init__(
        self, outline: Outline = "rle", separate: bool = False, names: LabelNames | None = None
    ) -> None:
        self._outline, self._separate = outline, separate
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names = names or LabelNames()

    def add(self, labelled: LabelledImage) -> None:
        """Add an image; one in which nothing is marked is listed without annotations.

        Raises
        ------
        OutputError
            If it is a stack, or as `LabelNames.add`.
        """
        check_plane(labelled, "COCO")
        self._names.add(labelled)
        height, width = labelled.labels.shape
        number = len(self._images) + 1
        classes = labels_named(labelled)
        for label, pieces in objects_of(labelled.labels, self._separate):
            entry = {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": classes[label],
                "segmentation": self._segmentation(pieces, (height, width)),
                "area": sum(piece.pixels for piece in pieces),
                "bbox": _box(pieces),
                "iscrowd": 0,
            }
            self._annotations.append(entry)
        name = printable(labelled.image)
        self._images.append({"id": number, "file_name": name, "height": height, "width": width})

    def write(self, path: Path) -> None:
        """Write the file atomically, and read it back before it gets its name.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        ids: dict[str, int] = {}
        names = self._names.names
        for label, name in names.items():
            ids.setdefault(name, label)
        content = {
            "info": {
                "description": "Annotations made with napari-latentfm",
                "version": package_version(),
                "date_created": now(),
            },
            "licenses": [],
            "images": self._images,
            "categories": [
                {"id": label, "name": printable(name), "supercategory": ""}
                for name, label in ids.items()
            ],
            "annotations": [
                {**each, "category_id": ids[names[each["category_id"]]]}
                for each in self._annotations
            ],
        }
        write_json(path, content)

    def _segmentation(self, pieces: Sequence[Piece], shape: tuple[int, int]) -> Any:
        if self._outline == "polygons":
            lines = (polygon(piece)[:, ::-1] for piece in pieces)
            return [np.round(line, 3).ravel().tolist() for line in lines]
        return {"size": list(shape), "counts": run_lengths(pieces, shape)}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically; it gets its name only if it reads back as it was.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
        try:
            same = parse_json(temporary.read_bytes()) == content
        except ValueError:
            same = False
        check_read_back(path, same)


def run_lengths(pieces: Sequence[Piece], shape: tuple[int, int]) -> list[int]:
    """Return lengths of runs down the columns of an image, alternately of background and object.

    Parameters
    ----------
    shape
        Height and width of the image. Only the object's box is read: the time for thousands
        of small objects does not depend on the image.
    """
    left, top, width, height = _box(pieces)
    # One row more than the box, so that every run ends within its column.
    mask = np.zeros((height + 1, width), np.int8)
    for piece in pieces:
        rows, columns = piece.mask.shape
        down, along = piece.top - top, piece.left - left
        mask[down : down + rows, along : along + columns] |= piece.mask
    steps = np.diff(mask, axis=0, prepend=0).T
    borders = []
    for step in (1, -1):
        column, row = np.nonzero(steps == step)
        borders.append((column + left) * shape[0] + row + top)
    begins, ends = borders
    # Where an object has the full height, a run continues in the next column.
    apart = ends[:-1] != begins[1:]
    begins, ends = begins[np.append(True, apart)], ends[np.append(apart, True)]
    places = np.stack([begins, ends], axis=1).ravel()
    lengths: list[int] = np.diff(places, prepend=0, append=shape[0] * shape[1]).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def _box(pieces: Sequence[Piece]) -> list[int]:
    top, left = min(each.top for each in pieces), min(each.left for each in pieces)
    bottom = max(each.top + each.mask.shape[0] for each in pieces)
    right = max(each.left + each.mask.shape[1] for each in pieces)
    return [left, top, right - left, bottom - top]
