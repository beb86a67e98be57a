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
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.untrusted import parse_json
from latentfm_core.measures.objects import objects_of
from latentfm_core.measures.outlines import Piece, polygon
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now, package_version

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

    Notes
    -----
    Each class is a category, whose id is its lowest label; all objects of a class are of it.
    """

    def __init__(self, outline: Outline = "rle", separate: bool = False) -> None:
        self._outline, self._separate = outline, separate
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}

    def add(self, labelled: LabelledImage) -> None:
        """Add an image; one in which nothing is marked is listed without annotations.

        Raises
        ------
        OutputError
            If it is a stack, or calls a label otherwise than an image before did.
        """
        check_plane(labelled, "COCO")
        height, width = labelled.labels.shape
        number = len(self._images) + 1
        objects = list(objects_of(labelled.labels, self._separate))
        classes = labelled.class_names
        known_classes = set(classes.values())
        found = {label: labelled.name(label) for label, _ in objects}
        nameless = {label: name for label, name in found.items() if name not in known_classes}
        for label, name in (classes | nameless).items():
            known = self._names.setdefault(label, name)
            if known != name:
                raise OutputError(
                    f"{labelled.image}: label {label} is called {name!r} here, and "
                    f"{known!r} in another image. COCO has one name per label. Open one of these "
                    f"images, select label {label} of its annotation, rename it with Name label… "
                    "in the section Annotation, and accept the image again. The name then applies "
                    "to the whole folder."
                )
        for label, pieces in objects:
            entry = {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": found[label],
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
        for label, name in sorted(self._names.items()):
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
                {**each, "category_id": ids[each["category_id"]]} for each in self._annotations
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
