"""Write maps of a large image block by block as multiscale Zarr arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.names import is_there
from latentfm_core.types import Summary

ATTRIBUTES = "latentfm"
"""Name of the attribute with the provenance of the maps."""
CHUNK = 512
"""Side of a chunk in pixels."""
SMALLEST = 1024
_MAX_ATTRIBUTES = 4_000_000
"""Maximum longer side of the coarsest level."""


@dataclass(frozen=True)
class MapGrid:
    """Shape, pixel size and position shared by all maps.

    Attributes
    ----------
    shape
        ``(H, W)``.
    samples, channels
        Number of samples, and of probabilities for each pixel: 1, or K with the background.
    pixel, unit
        Size of a pixel of the maps ``(row, column)`` in `unit`.
    origin
        Centre of the first pixel, in `unit`; that of the image's first pixel is 0.
    """

    shape: tuple[int, int]
    samples: int
    channels: int
    pixel: tuple[float, float]
    unit: str
    origin: tuple[float, float]

    def maps(self) -> dict[str, tuple[str | None, int, str]]:
        """Return leading axis, its length and dtype of each map, by name."""
        several = self.channels > 1
        arrays: dict[str, tuple[str | None, int, str]] = {
            "mean_probability": ("class" if several else None, self.channels, "float32"),
            "mean_mask": (None, 1, "uint8"),
            "variance": (None, 1, "float32"),
            "confidence": (None, 1, "float32"),
            "sample_masks": ("sample", self.samples, "uint8"),
        }
        if several:
            arrays["class_confidence"] = ("class", self.channels - 1, "float32")
        return arrays

    def level_shapes(self) -> list[tuple[int, int]]:
        """Return ``(H, W)`` of each level, each half of the one before, rounded up."""
        shapes = [self.shape]
        while max(shapes[-1]) > SMALLEST:
            height, width = shapes[-1]
            shapes.append((-(-height // 2), -(-width // 2)))
        return shapes


class MapStore:
    """Writes maps into a folder.

    Each map is a multiscale image as OME-NGFF 0.4 defines it (Zarr format 2), so that other
    programs open it too. Masks are uint8: 0 and 1, or labels.

    Parameters
    ----------
    folder
        An empty folder.
    """

    def __init__(self, folder: Path, grid: MapGrid) -> None:
        self._grid = grid
        # Mode "w" would replace the folder and so lose its lock.
        self._root = zarr.open_group(str(folder), mode="a", zarr_format=2)
        self._levels: dict[str, list[Any]] = {}
        for name, (axis, length, dtype) in grid.maps().items():
            group = self._root.create_group(name)
            group.attrs["multiscales"] = [_multiscale(name, axis, grid)]
            lead = () if axis is None else (length,)
            self._levels[name] = [
                group.create_array(
                    str(number),
                    shape=(*lead, *shape),
                    chunks=(*(1 for _ in lead), *(min(CHUNK, side) for side in shape)),
                    dtype=dtype,
                    chunk_key_encoding={"name": "v2", "separator": "/"},
                )
                for number, shape in enumerate(grid.level_shapes())
            ]

    def put(self, top: int, left: int, summary: Summary) -> None:
        """Write the finished maps of a part that begins at a row and a column."""
        height, width = summary.mean_mask.shape
        for name, levels in self._levels.items():
            values = np.asarray(getattr(summary, name))
            region = np.s_[..., top : top + height, left : left + width]
            levels[0][region] = values.view(np.uint8) if values.dtype == np.bool_ else values

    def shrink(self) -> Iterator[None]:
        """Write the coarser levels; yield after each chunk."""
        for levels in self._levels.values():
            for fine, coarse in pairwise(levels):
                height, width = coarse.shape[-2:]
                for top, left in product(range(0, height, CHUNK), range(0, width, CHUNK)):
                    region = np.s_[..., top : top + CHUNK, left : left + CHUNK]
                    above = np.s_[..., 2 * top : 2 * (top + CHUNK), 2 * left : 2 * (left + CHUNK)]
                    coarse[region] = _halved(fine[above])
                    yield

    def describe(self, facts: dict[str, Any]) -> None:
        """Write the provenance of the maps, as JSON values, to the attributes."""
        self._root.attrs[ATTRIBUTES] = facts


def is_foreign(folder: Path) -> bool:
    """Return whether a path exists that is not a finished folder of maps, nor an empty folder."""
    try:
        if not is_there(folder) or not any(folder.iterdir()):
            return False
        attributes = parse_json(read_bounded(folder / ".zattrs", _MAX_ATTRIBUTES))
    except (OSError, ValueError):
        return True
    return not isinstance(attributes, dict) or ATTRIBUTES not in attributes


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    """Return every second pixel of a mask, or the mean of each 2 x 2 pixels of a map."""
    if values.dtype.kind != "f":
        return values[..., ::2, ::2]
    height, width = values.shape[-2:]
    odd = [(0, 0)] * (values.ndim - 2) + [(0, height % 2), (0, width % 2)]
    even = np.pad(values, odd, mode="edge")
    corners = [even[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]
    mean: NDArray[Any] = sum(corners[1:], corners[0]) / np.float32(4)
    return mean


def _multiscale(name: str, axis: str | None, grid: MapGrid) -> dict[str, Any]:
    space: dict[str, Any] = {"type": "space"}
    if grid.unit != "pixel":
        space["unit"] = grid.unit
    lead: list[dict[str, Any]] = [] if axis is None else [{"name": axis, "type": "channel"}]
    datasets = []
    for number in range(len(grid.level_shapes())):
        factor = 2**number
        scale = [size * factor for size in grid.pixel]
        # The first pixel covers `factor` original ones, so its centre moves.
        shift = [
            at + size * (factor - 1) / 2 for at, size in zip(grid.origin, grid.pixel, strict=True)
        ]
        transforms = [
            {"type": "scale", "scale": [1.0 for _ in lead] + scale},
            {"type": "translation", "translation": [0.0 for _ in lead] + shift},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    axes = [*lead, {"name": "y", **space}, {"name": "x", **space}]
    return {"version": "0.4", "name": name, "axes": axes, "datasets": datasets}
