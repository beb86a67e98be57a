"""Uncertain regions that were reviewed, which are recognised in later samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from latentfm_core.prompts.field import box_iou
from latentfm_core.uncertainty.regions import UncertainRegion

SAME = 0.5
"""A region with more than this IoU with a reviewed one counts as reviewed."""

PlaneIndex = tuple[int | None, ...]
JsonRegion = dict[str, Any]


@dataclass(frozen=True)
class _Reviewed:
    facts: JsonRegion
    mask: NDArray[np.bool_] | None


class ReviewedRegions:
    """The reviewed regions of every image and plane.

    A region is recognised by its pixels, or by its box if it comes from a file.
    """

    def __init__(self) -> None:
        self._regions: WeakKeyDictionary[Image, dict[PlaneIndex, list[_Reviewed]]] = (
            WeakKeyDictionary()
        )

    def put(
        self, layer: Image, index: PlaneIndex, region: UncertainRegion, mask: NDArray[np.bool_]
    ) -> None:
        """Add a region, ``(H, W)`` bool, of a plane."""
        facts: JsonRegion = {
            "index": list(index),
            "rank": region.rank,
            "place": region.place,
            "box": list(region.box),
            "area": region.area,
            "stake": round(region.stake, 2),
            "confidence": round(region.confidence, 4),
        }
        self._of(layer, index).append(_Reviewed(facts, mask))

    def drop(
        self, layer: Image, index: PlaneIndex, region: UncertainRegion, mask: NDArray[np.bool_]
    ) -> None:
        """Remove a region."""
        kept = self._of(layer, index)
        kept[:] = [other for other in kept if not _same(other, region, mask)]

    def has(
        self, layer: Image, index: PlaneIndex, region: UncertainRegion, mask: NDArray[np.bool_]
    ) -> bool:
        """Return whether a region was reviewed, possibly in earlier samples."""
        return any(_same(other, region, mask) for other in self._of(layer, index))

    def to_json(self, layer: Image) -> list[JsonRegion]:
        """Return the reviewed regions of all planes of an image as JSON values."""
        planes = self._regions.get(layer, {}).values()
        return [dict(region.facts) for plane in planes for region in plane]

    def recall(self, layer: Image, regions: Sequence[Mapping[str, Any]]) -> None:
        """Add regions that `to_json` returned; invalid ones are ignored."""
        for region in regions:
            box = region.get("box")
            if not isinstance(box, list | tuple) or [type(side) for side in box] != [int] * 4:
                continue
            index = tuple(region.get("index") or (None,) * layer.ndim)
            if len(index) == layer.ndim:
                known = self._of(layer, index)
                if all(other.facts.get("box") != list(box) for other in known):
                    known.append(
                        _Reviewed({**region, "index": list(index), "box": list(box)}, None)
                    )

    def _of(self, layer: Image, index: PlaneIndex) -> list[_Reviewed]:
        return self._regions.setdefault(layer, {}).setdefault(index, [])


def _same(reviewed: _Reviewed, region: UncertainRegion, mask: NDArray[np.bool_]) -> bool:
    if reviewed.mask is None:
        return box_iou(reviewed.facts["box"], region.box) > SAME
    if reviewed.mask.shape != mask.shape:
        return False
    union = np.count_nonzero(mask | reviewed.mask)
    return bool(np.count_nonzero(mask & reviewed.mask) > SAME * union)
