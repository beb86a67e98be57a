"""Marks of objects as records in a file, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.marks import MarkedObject, StoredMarks
from latentfm_core.annotation.provenance import CorrectionInfo, correction, now, painted
from latentfm_core.prompts import Prompt
from napari_latentfm.layers.annotation_record import PlaneIndex
from napari_latentfm.layers.planes import Plane
from napari_latentfm.prompting.objects import PromptObject


def to_record(objects: Sequence[PromptObject]) -> StoredMarks:
    """Return the marks of objects; for a worker thread, since strokes take time."""
    return StoredMarks(created=now(), objects=tuple(_record(one) for one in objects))


def from_record(marks: StoredMarks, plane: Plane, name: str) -> list[PromptObject]:
    """Return objects without outlines on the planes of an image; what does not fit is left out.

    `plane` is any plane of the image, and `name` the class of the objects.
    """
    objects = []
    for each in marks.objects:
        if not _fits(each.index, plane.layer_shape):
            continue
        height, width = (
            side for side, at in zip(plane.layer_shape, each.index, strict=True) if at is None
        )
        at = Plane((height, width), each.index, plane.layer_shape)
        mask = _pixels(each, each.mask, at)
        prompt = Prompt(
            each.box,
            each.positive,
            each.negative,
            _pixels(each, each.strokes, at),
            None if mask is None else mask > 0,
        )
        if not prompt.is_empty:
            objects.append(PromptObject(each.number, at, name, prompt))
    return objects


def _fits(index: PlaneIndex, shape: tuple[int, ...]) -> bool:
    if len(index) != len(shape) or sum(at is None for at in index) != 2:
        return False
    return all(at is None or 0 <= at < side for at, side in zip(index, shape, strict=True))


def _record(one: PromptObject) -> MarkedObject:
    prompt = one.prompt
    strokes, mask = (
        () if pixels is None else correction(one.plane.index, np.asarray(pixels, np.uint8)).runs
        for pixels in (prompt.strokes, prompt.mask)
    )
    return MarkedObject(
        number=one.number,
        index=one.plane.index,
        box=prompt.box,
        positive=prompt.positive,
        negative=prompt.negative,
        strokes=strokes,
        mask=mask,
    )


def _pixels(
    each: MarkedObject, runs: tuple[tuple[int, int, int], ...], plane: Plane
) -> NDArray[Any] | None:
    return painted(CorrectionInfo(index=each.index, pixels=0, runs=runs), plane.shape)
