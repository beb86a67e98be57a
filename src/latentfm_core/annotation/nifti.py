"""Reading of NIfTI labels, and the orientation of their axes.

An affine says where the columns, rows and planes of a NIfTI file run to in the patient's body. The
same labels may be stored in 48 ways, and programs write different ones.
"""

from __future__ import annotations

import gzip
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.formats import nibabel
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.regular import open_regular
from latentfm_core.files.untrusted import read_start
from latentfm_core.images.limits import check_bytes_of
from latentfm_core.names import shown

logger = logging.getLogger(__name__)

MAX_NIFTI_START = 16_000_000
_OBLIQUE = 1.0
"""Angle in degrees above which axes are called oblique."""


@dataclass(frozen=True)
class Orientation:
    """Where the columns, rows and planes of a NIfTI file run to.

    Attributes
    ----------
    axes
        As in `Space.orientation`; of oblique axes, the nearest.
    degrees
        Largest angle between an axis and the nearest axis of the body.
    """

    axes: str
    degrees: float


def read_orientation(path: Path) -> Orientation | None:
    """Return the orientation of a NIfTI file; None if it has none, or cannot be read."""
    try:
        with _nifti(path) as image:
            return _orientation(image)
    except Exception:
        # Reading the file reports its errors.
        logger.debug("%s: the orientation cannot be read", path, exc_info=True)
        return None


def orientation_note(path: Path, image: str, image_file: Path | None) -> str:
    """Return what a user should know about the orientation of labels; empty if they fit as stored.

    Parameters
    ----------
    path
        NIfTI file of labels without provenance.
    image
        Orientation of the image to which they are turned.
    image_file
        NIfTI file of the image, if it is one.
    """
    found = read_orientation(path)
    if found is None:
        return "The file does not say how its axes run; its labels are as stored."
    known = None if image_file is None else read_orientation(image_file)
    oblique = 0.0 if known is None else known.degrees
    if abs(found.degrees - oblique) > _OBLIQUE:
        return (
            f"Caution: its axes are oblique (by {found.degrees:.0f} degrees, those of the image by "
            f"{oblique:.0f}), so that the labels may not fit. Resample them to the image."
        )
    if found.axes != image:
        return (
            f"Its axes run to {found.axes}, those of the image to {image}: labels were reoriented."
        )
    return ""


def _orientation(image: Any) -> Orientation | None:
    header, affine = image.header, np.asarray(image.affine, float)
    if not (int(header["sform_code"]) or int(header["qform_code"])):
        return None
    if not np.isfinite(affine).all():
        return None
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    axes: tuple[str | None, ...] = nibabel().aff2axcodes(affine) if steps.all() else (None,)
    if None in axes:
        return None  # some axes do not differ
    nearest = (np.abs(affine[:3, :3]) / steps).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(nearest, 0, 1))).max())
    return Orientation("".join(map(str, axes)), degrees)


_NIFTI = {348: ("f", 108), 540: ("q", 168)}
"""Format and position of vox_offset by header size: NIfTI-1 and NIfTI-2."""


def _check_nifti_start(path: Path) -> None:
    """Reject a header that makes nibabel read megabytes before the first voxel."""
    with _opened_nifti(path) as stream:
        head = stream.read(540)
    for order in "<>":
        if len(head) >= 352:
            form, place = _NIFTI.get(struct.unpack_from(f"{order}i", head)[0], ("", 0))
            if form and len(head) >= place + 8:
                offset = struct.unpack_from(order + form, head, place)[0]
                if not 0 <= offset <= MAX_NIFTI_START:
                    raise ImageError(
                        f"{shown(path)}: first voxel at byte {offset:g}. The file is damaged; "
                        "copy it again."
                    )


def _opened_nifti(path: Path) -> BinaryIO:
    """Open a NIfTI file, compressed or not, regardless of its name."""
    packed = read_start(path, 2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else open_regular(path)


@contextmanager
def _nifti(path: Path) -> Iterator[Any]:
    """Open a NIfTI file, regardless of its name."""
    library = nibabel()
    _check_nifti_start(path)
    # Not by name: with a mixed-case extension nibabel looks for other files.
    with _opened_nifti(path) as stream:
        second = stream.read(4) in (struct.pack("<i", 540), struct.pack(">i", 540))
        stream.seek(0)
        kind = library.Nifti2Image if second else library.Nifti1Image
        yield kind.from_stream(stream)


def read_nifti(path: Path, limits: ReadingConfig, orientation: str | None = None) -> NDArray[Any]:
    """Return the labels of a NIfTI file, axes (time, plane, row, column).

    They are turned to `orientation`, as `Space.orientation`; None, or a file without an
    own orientation, returns them as stored.

    Raises
    ------
    ImageError
        If it contains no labels, or more than `limits` allow.
    OutputError
        If nibabel is missing.
    """
    with _nifti(path) as image:
        values = _nifti_labels(path, image, limits)
        stored = None if orientation is None else _orientation(image)
    flat = values.ndim == 2
    if stored is not None and stored.axes != orientation:
        library = nibabel()
        codes = (library.orientations.axcodes2ornt(axes) for axes in (stored.axes, orientation))
        turn = library.orientations.ornt_transform(*codes)
        values = values[:, :, np.newaxis] if flat else values
        values = library.orientations.apply_orientation(values, turn)
        values = values.squeeze(int(turn[2, 0])) if flat else values
    # (column, row, plane, time) to (time, plane, row, column).
    values = values.transpose()
    return values[:, 0] if values.ndim == 4 and values.shape[1] == 1 else values


def _nifti_labels(path: Path, image: Any, limits: ReadingConfig) -> NDArray[Any]:
    shape = tuple(int(length) for length in image.shape)
    # Scaled values are returned in double precision.
    check_bytes_of(path.name, math.prod(shape) * max(8, image.get_data_dtype().itemsize), limits)
    if not 2 <= len(shape) <= 4:
        raise ImageError(f"{shown(path)}: {len(shape)} axes; labels have 2 to 4. Export fewer.")
    return np.asarray(image.dataobj)
