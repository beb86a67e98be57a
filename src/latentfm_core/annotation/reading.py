"""Reader of annotations written by `latentfm_core.annotation.export` or by other programs."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from latentfm_core.annotation.fingerprint import compact, labels_digest
from latentfm_core.annotation.formats import LPS, PALETTE, suffix_of
from latentfm_core.annotation.nifti import read_nifti
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError, OutputError
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.colour_tables import check_numbered, reject_inverted
from latentfm_core.images.decode import check_is_file
from latentfm_core.images.decode_errors import decoding
from latentfm_core.images.decode_tiff import stored_values, tiff_palette
from latentfm_core.images.decoded import orient
from latentfm_core.images.mask_levels import reject_levels
from latentfm_core.images.masks import read_numbers
from latentfm_core.images.tiff import (
    check_series,
    is_inverted,
    is_thumbnail,
    main_series,
    open_tiff,
    orientation_of,
)
from latentfm_core.names import is_there, shown, storable

logger = logging.getLogger(__name__)

MAX_SIDECAR_BYTES = 16_000_000
_EXACT = 2**53
"""Below it, whole numbers are exact in double precision."""


def read_annotation(
    path: Path, limits: ReadingConfig = READING, orientation: str = LPS
) -> tuple[NDArray[Any], AnnotationSidecar | None]:
    """Read labels, and their provenance if it is in the same folder.

    Parameters
    ----------
    path
        TIFF, PNG or NIfTI.
    limits
        Largest decoded size; for a stack of planes only the limit in bytes applies.
    orientation
        Where columns, rows and planes of the image run to
        (`latentfm_core.annotation.formats.Space`). Labels of a NIfTI file without provenance that
        run elsewhere are turned to it.

    Returns
    -------
    labels
        uint8, uint16 or uint32, axes as in the provenance; without it, axes of length 1 may
        be missing.
    sidecar
        None if it has no JSON file (``a.tif.json``, or ``a.json`` of older versions), or that
        describes other labels, for example because another program changed the label file.

    Raises
    ------
    ImageError
        If the file is missing, contains grey levels or no labels, or is larger than `limits`
        allow, which is checked before memory is allocated.
    ResourceError
        If there is not enough memory.
    OutputError
        If the extension is unknown, or nibabel is missing.
    """
    check_is_file(path)
    suffix = suffix_of(path)
    sidecar = _sidecar_about(path)
    if sidecar is None:
        labels = read_labels_file(path, suffix, limits, orientation)
        _check_levels(path, labels, limits)
        return _black_and_white(labels), None
    # As stored, or turned if only then they are those that the provenance describes.
    for turned in (None, orientation) if suffix.startswith(".nii") else (None,):
        labels = _shaped(read_labels_file(path, suffix, limits, turned), sidecar)
        if labels_digest(labels) == sidecar.labels_digest:
            return labels, sidecar
    logger.warning("%s has changed since its provenance was written", path)
    _check_levels(path, labels, limits)
    return labels, None


def _check_levels(path: Path, labels: NDArray[Any], limits: ReadingConfig) -> None:
    if not limits.keep_numbers:
        reject_levels(path, labels)


def _shaped(labels: NDArray[Any], sidecar: AnnotationSidecar) -> NDArray[Any]:
    fits = math.prod(sidecar.shape) == labels.size
    return labels.reshape(sidecar.shape) if fits else labels


def sidecar_path(path: Path) -> Path:
    """Return the JSON file that belongs to a file of labels: ``a.tif`` has ``a.tif.json``."""
    return path.with_name(f"{path.name}.json")


def older_sidecar_path(path: Path) -> Path:
    """Return where older versions kept it: ``a.json``, one for all formats of a name."""
    return path.with_name(path.name[: -len(suffix_of(path))] + ".json")


def _sidecar_about(path: Path) -> AnnotationSidecar | None:
    for place in (sidecar_path(path), older_sidecar_path(path)):
        found = read_sidecar(place)
        if found is not None and storable(path.name) in map(storable, found.files):
            return found
    return None


def read_labels_file(
    path: Path, suffix: str, limits: ReadingConfig = READING, orientation: str | None = None
) -> NDArray[Any]:
    """Read labels in the format of `suffix`, as the smallest unsigned type.

    Those of a NIfTI file are turned to `orientation`; None returns them as stored.

    Raises
    ------
    ImageError
        If the file does not contain labels, or is larger than `limits` allow.
    ResourceError
        If there is not enough memory.
    OutputError
        If nibabel is missing.
    """
    with decoding(shown(path), "labels", "Choose another file"):
        labels = _read(path, suffix, limits, orientation)
        if not labels.size:
            raise ImageError(f"{shown(path)}: the file has no pixels. Choose another file.")
        labels = _whole_numbers(path, labels)
        try:
            return compact(labels)
        except ImageError as error:
            raise ImageError(f"{shown(path)}: {error}") from None


def _whole_numbers(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return real numbers as integers; raise `ImageError` if they are not whole."""
    if values.dtype.kind != "f":
        return values
    if (np.abs(values) < _EXACT).all() and (values == np.rint(values)).all():
        return values.astype(np.int64)
    raise ImageError(
        f"{shown(path)}: not labels, its values are not integers. Choose a file of whole numbers."
    )


def _black_and_white(labels: NDArray[Any]) -> NDArray[Any]:
    """Return a black and white mask as labels 0 and 1, as in training."""
    white = np.iinfo(labels.dtype).max if labels.dtype.itemsize <= 2 else 0
    values = np.unique(labels)
    if white and values[-1] == white and values.size <= 2 and values[0] in (0, white):
        return np.asarray(labels == white, np.uint8)
    return labels


def read_sidecar(path: Path) -> AnnotationSidecar | None:
    """Return the provenance in a JSON file; None if it is missing or unreadable."""
    try:
        text = decoded_text(read_bounded(path, MAX_SIDECAR_BYTES))
        return AnnotationSidecar.model_validate_json(text)
    except (OSError, ValueError):
        return None


def check_no_provenance(path: Path) -> None:
    """Raise `OutputError` for the path of a JSON file that records how an annotation was made."""
    if is_there(path) and read_sidecar(path) is not None:
        raise OutputError(
            f"{shown(path)} is the provenance of an annotation and would be overwritten. Choose "
            "another name."
        )


def read_tiff(
    source: Path | BinaryIO, name: str = "", limits: ReadingConfig = READING
) -> NDArray[Any]:
    """Return the labels of a TIFF file or stream after checking its size.

    Raises
    ------
    ImageError
        If it contains no labels, or several images that are not planes of one stack.
    """
    name = name or str(source)
    with open_tiff(source) as tiff:
        series = main_series(tiff)
        check_series(name, series, limits, plane=False)
        count = max(1, sum(not is_thumbnail(each) for each in tiff.series))
        if count > 1:
            raise ImageError(
                f"{shown(name)}: {count} images that the file does not mark as planes of one "
                "stack. Save the labels alone, or as one stack."
            )
        keyframe: Any = series.keyframe
        is_palette = keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE
        is_mask = isinstance(source, Path) and _is_plane(series)
        if series.dtype is None or (
            not is_mask and (series.dtype.kind not in "buif" or "S" in series.axes)
        ):
            raise ImageError(
                f"{shown(name)}: an image, not labels. Choose a file of integer labels."
            )
        end = tiff.filehandle.size
        for page in series.pages:
            parts = () if page is None else zip(page.dataoffsets, page.databytecounts, strict=True)
            if any(offset + length > end for offset, length in parts):
                # tifffile would fill the missing part with zeros.
                raise ImageError(f"{shown(name)}: truncated. Copy the file again.")
        if is_mask and (is_palette or series.dtype.kind not in "bui" or "S" in series.axes):
            return read_numbers(Path(name), limits, binary=True)
        if is_palette:
            check_numbered(Path(name), tiff_palette(keyframe))
        if is_inverted(tiff, keyframe):
            reject_inverted(Path(name))
        labels = stored_values(series)
        if labels is None:
            return read_numbers(Path(name), limits, binary=True)
        turn = orientation_of(keyframe)
        if turn == 1 or labels.ndim < 2:
            return labels
        planes = labels.reshape(-1, *labels.shape[-2:])
        turned = np.stack([orient(plane, turn) for plane in planes])
        return turned.reshape(*labels.shape[:-2], *turned.shape[-2:])


def _is_plane(series: tifffile.TiffPageSeries) -> bool:
    """Return whether a series is one plane, in grey or colours."""
    sides = zip(series.shape, series.axes, strict=True)
    return all(size == 1 or axis in "YXS" for size, axis in sides)


def _read(path: Path, suffix: str, limits: ReadingConfig, orientation: str | None) -> NDArray[Any]:
    if suffix in (".png", PALETTE):
        return read_numbers(path, limits, binary=True)
    if suffix.startswith(".tif"):
        return read_tiff(path, limits=limits)
    return read_nifti(path, limits, orientation)
