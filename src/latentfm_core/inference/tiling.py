"""Positions of tiles in a large image, and their blending weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from latentfm_core.types import Float32

ALIGNMENT = 32
"""Tile origins are multiples of it: the networks' coarsest stride, hence a multiple of the
latent's, so that all tiles sample the image and the noise on one grid."""


@dataclass(frozen=True)
class TileAxis:
    """The tiles along one axis.

    Attributes
    ----------
    tile
        Side of a tile, a multiple of `ALIGNMENT`.
    overlap
        Minimum share of a tile that overlaps the next one.
    """

    length: int
    tile: int
    overlap: float

    @cached_property
    def step(self) -> int:
        """Pixels from one tile to the next; the last step may be shorter."""
        return max(ALIGNMENT, int(self.tile * (1 - self.overlap)) // ALIGNMENT * ALIGNMENT)

    @cached_property
    def origins(self) -> tuple[int, ...]:
        """Start of each tile; the last may extend beyond the image by less than `ALIGNMENT`.

        A single tile covers all of a shorter image and extends beyond it.
        """
        last = -(-max(0, self.length - self.tile) // ALIGNMENT) * ALIGNMENT
        return (*range(0, last, self.step), last)

    def within(self, start: int, stop: int) -> list[int]:
        """Return the indices of the tiles with pixels in [`start`, `stop`)."""
        return [
            index
            for index, origin in enumerate(self.origins)
            if origin < stop and origin + self.tile > start
        ]

    def weights(self, index: int) -> Float32:
        """Return the tile's weight at each of its pixels; all tiles' weights sum to 1.

        The axes are independent, so the products sum to 1 over the tiles of the plane.
        """
        ramp = min(self.tile - self.step, self.tile // 2)
        shape = window(self.tile, ramp)
        origin = self.origins[index]
        total = np.zeros(self.tile)
        for other in self.within(origin, origin + self.tile):
            shift = self.origins[other] - origin
            here = slice(max(0, shift), self.tile + min(0, shift))
            there = slice(max(0, -shift), self.tile - max(0, shift))
            total[here] += shape[there]
        return (shape / total).astype(np.float32)


def window(tile: int, ramp: int) -> NDArray[np.float64]:
    """Return ``(tile,)`` weights: 1 in the middle, falling to almost 0 along `ramp` pixels.

    The ramp is sin^2 (a Tukey window), so that the weights of two tiles that overlap by `ramp`
    sum to 1 and change smoothly.
    """
    distance = np.arange(tile) + 0.5
    inwards = np.minimum(distance, tile - distance)
    share = np.minimum(1.0, inwards / max(ramp, 1))
    shape: NDArray[np.float64] = np.square(np.sin(0.5 * np.pi * share))
    return shape


def strips(width: int, wished: int, multiple: int) -> Sequence[tuple[int, int]]:
    """Cut `width` columns into strips ``(start, stop)`` of about equal width.

    Strips are at most `wished` wide, if that is at least `multiple`, and start at multiples of
    `multiple`.
    """
    units = -(-width // multiple)
    count = -(-units // max(1, wished // multiple))
    edges = [multiple * (units * i // count) for i in range(count)]
    return list(zip(edges, [*edges[1:], width], strict=True))
