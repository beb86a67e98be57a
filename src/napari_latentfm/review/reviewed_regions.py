"""Which regions of doubt were settled; it outlives the samples that they were found in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from latentfm_core.uncertainty.regions import DoubtRegion

SAME = 0.5
"""IoU from which on a region of new samples is one that was settled before."""

PlaneIndex = tuple[int | None, ...]
Told = dict[str, Any]


@dataclass(frozen=True)
class _Settled:
    told: Told
    mask: NDArray[np.bool_] | None


class Ticks:
    """The settled regions of every image and plane.

    A region is known again by its pixels, or, if it comes from a file, by its box.
    """

    def __init__(self) -> None:
        self._settled: WeakKeyDictionary[Image, dict[PlaneIndex, list[_Settled]]] = (
            WeakKeyDictionary()
        )

    def put(
        self, layer: Image, index: PlaneIndex, region: DoubtRegion, mask: NDArray[np.bool_]
    ) -> None:
        """Note that a region, ``(H, W)`` bool, of a plane was settled."""
        told = {
            "index": list(index),
            "rank": region.rank,
            "place": region.place,
            "box": list(region.box),
            "area": region.area,
            "stake": round(region.stake, 2),
            "confidence": round(region.confidence, 4),
        }
        self._of(layer, index).append(_Settled(told, mask))

    def drop(
        self, layer: Image, index: PlaneIndex, region: DoubtRegion, mask: NDArray[np.bool_]
    ) -> None:
        """Forget that a region was settled."""
        kept = self._of(layer, index)
        kept[:] = [settled for settled in kept if not _same(settled, region, mask)]

    def has(
        self, layer: Image, index: PlaneIndex, region: DoubtRegion, mask: NDArray[np.bool_]
    ) -> bool:
        """Tell whether a region was settled, perhaps in earlier samples."""
        return any(_same(settled, region, mask) for settled in self._of(layer, index))

    def told(self, layer: Image) -> list[Told]:
        """Return what was settled on all planes of an image as JSON values."""
        planes = self._settled.get(layer, {}).values()
        return [dict(settled.told) for plane in planes for settled in plane]

    def recall(self, layer: Image, regions: Sequence[Mapping[str, Any]]) -> None:
        """Take over what `told` returned in another window; what is no region is left out."""
        for region in regions:
            box = region.get("box")
            if not isinstance(box, list | tuple) or [type(side) for side in box] != [int] * 4:
                continue
            index = tuple(region.get("index") or (None,) * layer.ndim)
            if len(index) == layer.ndim:
                known = self._of(layer, index)
                if all(settled.told.get("box") != list(box) for settled in known):
                    known.append(_Settled({**region, "index": list(index), "box": list(box)}, None))

    def _of(self, layer: Image, index: PlaneIndex) -> list[_Settled]:
        return self._settled.setdefault(layer, {}).setdefault(index, [])


def _same(settled: _Settled, region: DoubtRegion, mask: NDArray[np.bool_]) -> bool:
    if settled.mask is None:
        return _box_iou(settled.told["box"], region.box) > SAME
    if settled.mask.shape != mask.shape:
        return False
    union = np.count_nonzero(mask | settled.mask)
    return bool(np.count_nonzero(mask & settled.mask) > SAME * union)


def _box_iou(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the IoU of boxes ``(top, left, bottom, right)``."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, height) * max(0, width)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / both if both > 0 else 0.0
