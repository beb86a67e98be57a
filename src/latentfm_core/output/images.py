"""Write maps and stacks as TIFF and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from latentfm_core.images.units import LENGTHS, MILLIMETERS
from latentfm_core.types import ImageInput

LARGEST_RATIONAL = 2**32 - 1
_BIGTIFF_BYTES = 2**31

FAST = 1
"""zlib level of TIFF and PNG files."""


def write_tiff(
    path: Path,
    values: NDArray[Any],
    source: ImageInput,
    channels: Sequence[str] | None = None,
    axes: str = "YX",
    depth: float | None = None,
) -> None:
    """Write an OME-TIFF with the pixel size of the image that `values` belong to.

    OME needs Y and X as the last axes; a stack in another order becomes a plain TIFF, whose axes
    tifffile and napari read.

    The pixel size is stored in the OME metadata and, as pixels per centimetre, in the plain
    resolution tags, for programs that read only those. Masks are compressed without loss.

    Parameters
    ----------
    path
        Output path; wrap it in `latentfm_core.files.atomic.atomic_path`.
    values
        ``(H, W)``, or ``(N, H, W)`` with `channels`, or with the axes of a stack in place of
        ``(H, W)``; uint8 or float32.
    source
        Source of `spacing` and `unit`; a unit that is not a length is omitted.
    channels
        Names of the N planes. They form the channel axis, the only one of OME whose
        entries can have names.
    axes
        Letters of the axes of each map: T, Z, Y, X.
    depth
        Distance of the planes along Z in the unit of `source`, or None.
    """
    metadata: dict[str, Any] = {"axes": axes}
    if channels is not None:
        metadata = {"axes": f"C{axes}", "Channel": {"Name": list(channels)}}
    per_cm: tuple[float, ...] = ()
    is_ome = axes.endswith("YX")
    if not is_ome and channels is not None:
        metadata = {"axes": f"C{axes}"}
    if is_ome and source.spacing is not None and source.unit in LENGTHS:
        row, column = (float(size) for size in source.spacing)
        unit = LENGTHS[source.unit]
        metadata |= {"PhysicalSizeX": column, "PhysicalSizeXUnit": unit}
        metadata |= {"PhysicalSizeY": row, "PhysicalSizeYUnit": unit}
        if depth is not None:
            metadata |= {"PhysicalSizeZ": depth, "PhysicalSizeZUnit": unit}
        per_unit = 1 / (MILLIMETERS[source.unit] / 10)
        per_cm = (per_unit / column, per_unit / row)
    save_tiff(path, values, metadata, per_cm, is_ome)


def save_tiff(
    path: Path,
    values: NDArray[Any],
    metadata: dict[str, Any],
    per_cm: tuple[float, ...],
    is_ome: bool = True,
) -> None:
    """Write a TIFF; `per_cm` are the pixels per centimetre along X and Y, if they are known."""
    options: dict[str, Any] = {}
    if per_cm and all(1 / LARGEST_RATIONAL < density < LARGEST_RATIONAL for density in per_cm):
        options |= {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    if values.dtype.kind != "f":
        # Masks shrink a hundredfold in no time; noisy floats hardly shrink, and take longer
        # than the network.
        options |= {"compression": "zlib", "compressionargs": {"level": FAST}}
    tifffile.imwrite(
        path,
        values,
        ome=is_ome,
        bigtiff=values.nbytes > _BIGTIFF_BYTES,
        photometric="minisblack",
        software="napari-latentfm",
        metadata=metadata,
        **options,
    )


def write_png(path: Path, values: NDArray[np.uint8]) -> None:
    """Write ``(H, W)`` uint8 as a grey PNG."""
    Image.fromarray(values).save(path, format="PNG", compress_level=FAST)


def grey_levels(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Return `values` in [0, `white`] as grey levels 0 to 255, rounded."""
    scaled = np.multiply(values, np.float32(255 / white), dtype=np.float32)
    levels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return levels
