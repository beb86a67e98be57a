"""Writers of labels as TIFF, PNG and NIfTI, with their pixel size.

TIFF means OME-TIFF, because it stores a step and a unit for every axis (rows and columns may
differ, time has its own). ImageJ's variant has a single unit, no 32-bit labels, and a limit of
4 GiB.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentfm_core.colours import palette
from latentfm_core.errors import OutputError
from latentfm_core.files.optional import optional_package
from latentfm_core.images.units import LENGTHS, MILLIMETERS, converted
from latentfm_core.measures.objects import PixelSize
from latentfm_core.output.images import LARGEST_RATIONAL, save_tiff

if TYPE_CHECKING:
    from types import ModuleType

SECONDS = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
}
SYMBOLS = {
    "pixel": "pixel",
    **LENGTHS,
    "nanosecond": "ns",
    "microsecond": "µs",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
}
"""Full unit names, and their spellings in OME-XML and in common use."""

PALETTE = ".palette.png"
"""Ending of a PNG whose labels have colours."""
LPS = "LPS"
"""Orientation of pictures in ITK: columns run to the left, rows to the back, planes up."""
_WORLD = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Axis and sign of each direction in the coordinates of NIfTI."""
SUFFIXES = (".tif", ".tiff", ".png", PALETTE, ".nii", ".nii.gz")


@dataclass(frozen=True)
class Space:
    """Axes of labels and their physical size.

    Attributes
    ----------
    axes
        One letter per axis, Y and X last; before them any of T, C and Z.
    spacing
        Step along every axis in its unit; None when unknown.
    units
        Full name of the unit of every axis, such as ``"micrometer"``; may be empty.
    orientation
        Where columns, rows and planes run to in the patient's body: a letter each of right or
        left, front (A) or back (P), up (S) or down (I). Only NIfTI stores it.
    """

    axes: str
    spacing: tuple[float, ...] | None = None
    units: tuple[str, ...] = ()
    orientation: str = LPS

    def step(self, axis: str) -> tuple[float, str] | None:
        """Return step and unit along an axis; None if the axis or its step is missing."""
        if self.spacing is None or axis not in self.axes:
            return None
        index = self.axes.index(axis)
        return self.spacing[index], self.units[index] if self.units else "pixel"

    def millimeters(self, axis: str) -> float | None:
        """Return the step along an axis in millimetres, if it is a length."""
        step_size = self.step(axis)
        if step_size is None or step_size[1] not in MILLIMETERS:
            return None
        return step_size[0] * MILLIMETERS[step_size[1]]

    def pixel_size(self) -> PixelSize | None:
        """Return the size of a pixel of a plane, in the unit of its rows; None if unknown."""
        row, column = self.step("Y"), self.step("X")
        if row is None or column is None or row[1] not in MILLIMETERS:
            return None
        if column[1] not in MILLIMETERS:
            return None
        return PixelSize(row[0], converted(*column, row[1]), SYMBOLS[row[1]])

    def seconds(self) -> float | None:
        """Return the time step in seconds, if it is known."""
        step_size = self.step("T")
        return (
            step_size[0] * SECONDS[step_size[1]] if step_size and step_size[1] in SECONDS else None
        )


Write = Callable[[Path, NDArray[Any], Space], None]


def suffix_of(path: Path) -> str:
    """Return which of `SUFFIXES` a file has, in lower case.

    Raises
    ------
    OutputError
        If it has none of them.
    """
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise OutputError(
        f"{path.name}: annotations are stored as TIFF (.tif), PNG (.png) or NIfTI (.nii.gz). "
        "Use one of these extensions."
    )


def writer_for(
    path: Path, labels: NDArray[Any], space: Space, colours: Sequence[str] = ()
) -> Write:
    """Return the function that writes labels in the format of a file name.

    `colours` are the model's own colours of labels 1, 2, ..., for a format with a colour table.

    Raises
    ------
    OutputError
        If the extension is unknown, or the format cannot store these labels.
    """
    suffix = suffix_of(path)
    if len(space.axes) != labels.ndim:
        raise OutputError(
            f"Labels with {labels.ndim} axes cannot be stored as {space.axes}. "
            "Name as many axes as the labels have."
        )
    if suffix in (".png", PALETTE):
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise OutputError(
                "A PNG stores one plane with labels up to 255. Export as TIFF (.tif) instead."
            )
        return write_png if suffix == ".png" else partial(write_palette_png, colours=colours)
    if len(set(space.axes)) != labels.ndim or not set(space.axes) <= set("TCZYX"):
        raise OutputError(
            f"The axes {space.axes} cannot be stored; TIFF and NIfTI support T, C, Z, Y and X. "
            "Rename the axes of the layer, or export single planes."
        )
    if suffix.startswith(".nii"):
        nibabel()
        if "C" in space.axes:
            raise OutputError("NIfTI has no channel axis. Export as TIFF (.tif) instead.")
        return write_nifti
    return write_tiff


def write_tiff(path: Path, labels: NDArray[Any], space: Space) -> None:
    """Write an OME-TIFF with lossless zlib compression.

    Step and unit of every axis go into the OME metadata; pixels per centimetre also go into the
    plain resolution tags, for programs that read only those.
    """
    metadata: dict[str, Any] = {"axes": space.axes}
    for axis in "XYZ":
        step_size = space.step(axis)
        if step_size is not None and step_size[1] in SYMBOLS and step_size[1] not in SECONDS:
            metadata[f"PhysicalSize{axis}"] = step_size[0]
            metadata[f"PhysicalSize{axis}Unit"] = SYMBOLS[step_size[1]]
    time = space.step("T")
    if time is not None and time[1] in SECONDS:
        metadata |= {"TimeIncrement": time[0], "TimeIncrementUnit": SYMBOLS[time[1]]}
    save_tiff(path, labels, metadata, _pixels_per(10, space))


def _pixels_per(millimeters: int, space: Space) -> tuple[float, ...]:
    """Return the pixels along X and Y in a length; empty if one is not known."""
    sizes = (space.millimeters(axis) for axis in "XY")
    densities = tuple(millimeters / size for size in sizes if size)
    return densities if len(densities) == 2 else ()


def write_png(path: Path, labels: NDArray[Any], space: Space) -> None:
    """Write ``(H, W)`` uint8 as a grey PNG whose grey levels are the labels.

    The pixel size goes into the chunk pHYs in pixels per metre (PNG specification, 11.3.4.3).
    """
    Image.fromarray(labels).save(path, format="PNG", **_density(space))


def write_palette_png(
    path: Path, labels: NDArray[Any], space: Space, colours: Sequence[str] = ()
) -> None:
    """Write ``(H, W)`` uint8 as a PNG with a colour table whose indices are the labels.

    For viewing, as in Pascal VOC. OpenCV and scikit-image read its colours instead of
    its indices, which is why labels for them are grey.
    """
    picture = Image.fromarray(labels)
    picture.putpalette(palette(colours))
    picture.save(path, format="PNG", **_density(space))


def _density(space: Space) -> dict[str, Any]:
    """Return the pixel size as Pillow's option; empty if it is not known."""
    per_metre = _pixels_per(1000, space)
    if not per_metre or not all(1 <= density < LARGEST_RATIONAL for density in per_metre):
        return {}
    # Pillow takes pixels per inch and stores pixels per metre.
    return {"dpi": tuple(density * 0.0254 for density in per_metre)}


def write_nifti(path: Path, labels: NDArray[Any], space: Space) -> None:
    """Write NIfTI-1: axes (column, row, plane, time), steps in millimetres and seconds.

    By default columns go from right to left and rows from front to back, as in ITK for images
    without an orientation, so that programs built on it align the labels with the same picture.
    """
    library = nibabel()
    order = [space.axes.index(axis) for axis in "XYZT" if axis in space.axes]
    values = np.transpose(labels, order)
    if "T" in space.axes and "Z" not in space.axes:
        values = values[:, :, np.newaxis]
    sizes = [space.millimeters(axis) for axis in "XYZ"]
    metric = sizes[0] is not None and sizes[1] is not None
    steps = [size or (space.step(a) or (1.0,))[0] for a, size in zip("XYZ", sizes, strict=True)]
    affine = np.zeros((4, 4))
    for column, (letter, size) in enumerate(zip(space.orientation, steps, strict=True)):
        row, sign = _WORLD[letter]
        affine[row, column] = sign * size
    affine[3, 3] = 1
    image = library.Nifti1Image(values, affine, dtype=values.dtype)
    seconds = space.seconds()
    if values.ndim == 4:
        image.header["pixdim"][4] = seconds or (space.step("T") or (1.0,))[0]
    image.header.set_xyzt_units("mm" if metric else 0, "sec" if seconds else 0)
    content = image.to_bytes()
    compressed = path.suffix.lower() == ".gz"
    path.write_bytes(gzip.compress(content, 6, mtime=0) if compressed else content)


def nibabel() -> ModuleType:
    """Import and return nibabel; raise `OutputError` if it is not installed."""
    return optional_package(
        "nibabel",
        "NIfTI files need nibabel, which is not installed. Install it (pip install nibabel) "
        "and restart napari, or choose TIFF.",
    )
