"""Reads back what `latentfm_core.annotation.export` wrote, and labels of other programs."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from latentfm_core.annotation.formats import nibabel, suffix_of
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.signature import compact, labels_digest
from latentfm_core.errors import ImageError, LatentFMError, ResourceError

logger = logging.getLogger(__name__)

MAX_PIXELS = 2**31
"""Larger labels are refused before memory is taken for them."""
MAX_SIDECAR_BYTES = 16_000_000


def read_annotation(path: Path) -> tuple[NDArray[Any], AnnotationSidecar | None]:
    """Read labels, and their provenance if it lies beside them.

    Parameters
    ----------
    path
        TIFF, PNG or NIfTI.

    Returns
    -------
    labels
        uint8, uint16 or uint32, axes as in the provenance; without one, axes of length 1 may
        be missing.
    sidecar
        None if there is no JSON file of the same name, or it is about other labels, as when
        another program changed the file since.

    Raises
    ------
    ImageError
        If there is no such file, or it holds no labels.
    ResourceError
        If it is too large.
    OutputError
        If the ending is not known, or nibabel is missing.
    """
    if not path.is_file():
        raise ImageError(f"{path}: there is no such file. Check the path.")
    suffix = suffix_of(path)
    try:
        labels = compact(_read(path, suffix))
    except LatentFMError:
        raise
    except MemoryError:
        raise ResourceError(f"{path}: the memory does not suffice to open it.") from None
    except Exception as error:
        # Decoders raise nearly any type for a damaged file; all mean the same to the user.
        logger.debug("%s cannot be decoded", path, exc_info=True)
        raise ImageError(
            f"{path}: cannot be read as labels, it is damaged, truncated or of an unknown "
            f"format ({type(error).__name__}: {error}). Choose another file."
        ) from None
    sidecar = read_sidecar(path.with_name(path.name[: -len(suffix)] + ".json"))
    if sidecar is None or path.name not in sidecar.files:
        return labels, None
    if math.prod(sidecar.shape) == labels.size:
        labels = labels.reshape(sidecar.shape)
    if labels_digest(labels) != sidecar.labels_digest:
        logger.warning("%s was changed since its provenance was written", path)
        return labels, None
    return labels, sidecar


def read_sidecar(path: Path) -> AnnotationSidecar | None:
    """Return the provenance in a JSON file; None if there is none that is readable."""
    try:
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        return AnnotationSidecar.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """Raise if labels of this shape are too large.

    Raises
    ------
    ResourceError
        Above `MAX_PIXELS`.
    """
    if math.prod(shape) > MAX_PIXELS:
        raise ResourceError(
            f"{name}: {' x '.join(map(str, shape))} pixels; the limit is {MAX_PIXELS:,}. "
            "Open a part of it."
        )


def read_tiff(source: Any, name: str = "") -> NDArray[Any]:
    """Return the first series of a TIFF file or stream; its size is checked before."""
    with tifffile.TiffFile(source) as tiff:
        series = tiff.series[0]
        name = name or str(source)
        check_size(name, series.shape)
        if series.dtype is None or series.dtype.kind not in "bui" or "S" in series.axes:
            raise ImageError(f"{name}: a picture, not labels. Choose a file of integer labels.")
        end = tiff.filehandle.size
        for page in series.pages:
            parts = () if page is None else zip(page.dataoffsets, page.databytecounts, strict=True)
            if any(offset + length > end for offset, length in parts):
                # tifffile would give zeros for what is missing.
                raise ImageError(f"{name}: cut short. Copy the file again.")
        return np.asarray(series.asarray())


def _read(path: Path, suffix: str) -> NDArray[Any]:
    if suffix == ".png":
        return _read_png(path)
    return read_tiff(path) if suffix.startswith(".tif") else _read_nifti(path)


def _read_png(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            check_size(path.name, (image.height, image.width))
            if image.mode not in {"1", "L", "P", "I", "I;16"}:
                raise ImageError(
                    f"{path}: a colour picture, not labels. Choose a grey PNG or a TIFF."
                )
            values = np.array(image)
    except Image.DecompressionBombError:
        raise ResourceError(f"{path}: too many pixels for a PNG. Open it as TIFF.") from None
    return values.astype(np.uint16) if values.dtype.kind == "i" else values


def _read_nifti(path: Path) -> NDArray[Any]:
    image = nibabel().load(path)
    shape = tuple(int(length) for length in image.shape)
    check_size(path.name, shape)
    if not 2 <= len(shape) <= 4:
        raise ImageError(f"{path}: {len(shape)} axes; labels have 2 to 4.")
    values = np.asarray(image.dataobj)
    if values.dtype.kind == "f":
        whole = np.rint(values).astype(np.int64)
        if not np.array_equal(whole, values):
            raise ImageError(f"{path}: not labels, its values are no integers.")
        values = whole
    # (column, row, plane, time) to (time, plane, row, column).
    values = values.transpose()
    return values[:, 0] if values.ndim == 4 and values.shape[1] == 1 else values
