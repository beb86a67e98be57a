"""A second pass without a prompt: each sample again, in the extent that it found.

The first pass sees the whole image, where a small object has few pixels. The second pass takes
the extent of each object of a sample as a box, and draws the outline in the field around it, at
the image's own resolution. Samples that disagree about the place or the extent of an object
still do afterwards, and sample n does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentfm_core.config import DataConfig
from latentfm_core.images.canvas import between_canvases, canvas_geometry, seen_box
from latentfm_core.inference.batches import Progress, Seeds
from latentfm_core.inference.drawing import Row, condition_of, draw_rows
from latentfm_core.inference.framing import Frame, frame_at
from latentfm_core.inference.network import Network, PlainPath
from latentfm_core.inference.pieces import large_pieces
from latentfm_core.prompts.field import MIN_FIELD, Window, extent, square_around
from latentfm_core.prompts.maps import prompt_maps
from latentfm_core.prompts.prompt import Box, Prompt
from latentfm_core.types import Bool, Float32, Geometry

MOST_OBJECTS = 4
"""Objects of a sample. Samples of more, such as cells, are not refined."""

FINER = 2
"""Side of the canvas of the results, in sides of the network's canvas, for a larger image."""


@dataclass(frozen=True)
class Drawn:
    """Probabilities ``(N, S, S)`` float32 of N samples, and the geometry of their canvas."""

    probabilities: Float32
    geometry: Geometry


@dataclass(frozen=True)
class _Object:
    """An object of a sample: the index of the sample, its seed, and what the second pass sees."""

    sample: int
    seed: int
    box: Box
    window: Window | None


class Refiner:
    """Draws samples of an image again.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` float32 in [0, 1].
    data
        Sets the canvas side, and how a whole image is fitted to it.
    field_scale
        Minimum side of a field, in multiples of the longer side of its box.
    """

    def __init__(self, rgb: Float32, data: DataConfig, field_scale: float) -> None:
        self._rgb, self._data, self._scale = rgb, data, field_scale
        self._shape = (rgb.shape[0], rgb.shape[1])
        side = data.size * (FINER if max(self._shape) > data.size else 1)
        self.geometry = canvas_geometry(self._shape, side, data.fit)
        self._frames: dict[Window | None, Frame] = {}

    def draw(
        self, network: Network, first: Drawn, path: PlainPath, seeds: Seeds, batch: int
    ) -> Generator[Progress, None, Float32]:
        """Yield after each ODE step, and return the probabilities on the canvas of `geometry`.

        Parameters
        ----------
        seeds
            One for each sample; its objects have the same noise.
        batch
            Maximum number of objects at once.

        Raises
        ------
        ConfigError, ResourceError
            As `latentfm_core.inference.drawing.draw` does.
        """
        side = self.geometry.canvas
        result = np.zeros((len(seeds), side, side), np.float32)
        objects: list[_Object] = []
        kept: set[int] = set()
        for sample, (seed, one) in enumerate(zip(seeds, first.probabilities, strict=True)):
            boxes = _boxes(one, first.geometry)
            if len(boxes) > MOST_OBJECTS:
                kept.add(sample)
            else:
                objects += [_Object(sample, seed, box, self._window(box)) for box in boxes]
        if objects:
            drawn = yield from self._draw_objects(network, objects, path, batch)
            pairs = list(zip(objects, drawn, strict=True))
            kept |= {it.sample for it, p in pairs if self._leaves_field(p >= 0.5, it.window)}
            for each, values in pairs:
                if each.sample not in kept:
                    seen = self._frame(each.window).geometry
                    placed = between_canvases(values, seen, self.geometry)
                    np.maximum(result[each.sample], placed, out=result[each.sample])
        for sample in kept:
            one = first.probabilities[sample]
            result[sample] = between_canvases(one, first.geometry, self.geometry)
        return result

    def _draw_objects(
        self, network: Network, objects: Sequence[_Object], path: PlainPath, batch: int
    ) -> Generator[Progress, None, Float32]:
        conditions: dict[tuple[Box, Window | None], list[Tensor]] = {}
        # One field after the other: the network keeps the features of a few canvases.
        for each in sorted(objects, key=lambda one: one.window or ()):
            if (each.box, each.window) not in conditions:
                seen = self._frame(each.window)
                maps = prompt_maps(Prompt(each.box), seen.geometry)
                condition = condition_of(network, seen.canvas, path, maps)
                conditions[each.box, each.window] = condition
        rows = [Row(conditions[each.box, each.window], each.seed) for each in objects]
        return (yield from draw_rows(network, rows, path, self._data.size, batch))

    def _leaves_field(self, mask: Bool, window: Window | None) -> bool:
        """Return whether an outline reaches the edge of its field inside the image.

        An object fills half of its field at most: this is none, and the edge would be seen.
        """
        if window is None:
            return False
        top, left, rows, columns = self._frame(window).geometry.box
        inside = mask[top : top + rows, left : left + columns]
        low, high = window[:2], (window[0] + window[2], window[1] + window[3])
        edges = (
            (inside[0], low[0] > 0),
            (inside[-1], high[0] < self._shape[0]),
            (inside[:, 0], low[1] > 0),
            (inside[:, -1], high[1] < self._shape[1]),
        )
        return any(within and bool(edge.any()) for edge, within in edges)

    def _frame(self, window: Window | None) -> Frame:
        if window not in self._frames:
            self._frames[window] = frame_at(self._rgb, window, self._data)
        return self._frames[window]

    def _window(self, box: Box) -> Window | None:
        """Return the field around a box, None for the whole image.

        Its side and place are rounded, so that samples that differ little share a field, whose
        image features are computed once.
        """
        longer = max(box[2] - box[0], box[3] - box[1])
        doublings = math.log2(max(1.0, self._scale * longer / MIN_FIELD))
        side = round(MIN_FIELD * 2 ** (math.ceil(doublings * 4) / 4))
        if side >= max(self._shape):
            return None
        return square_around(box, side, self._shape, grid=side / 8)


def _boxes(probabilities: Float32, geometry: Geometry) -> list[Box]:
    """Return the boxes of the objects of a sample in pixels of the image, the largest first.

    One more than `MOST_OBJECTS` if there are too many.
    """
    top, left, rows, columns = geometry.box
    pieces, large = large_pieces(probabilities[top : top + rows, left : left + columns] >= 0.5)
    found = (extent(pieces == piece) for piece in large[: MOST_OBJECTS + 1])
    return [seen_box(box, geometry) for box in found if box is not None]
