"""Export of a finished annotation: a label file and its provenance."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.fingerprint import compact, labels_digest
from latentfm_core.annotation.formats import LPS, Space, Write, suffix_of, writer_for
from latentfm_core.annotation.labelled import check_read_back
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import (
    older_sidecar_path,
    read_labels_file,
    read_sidecar,
    sidecar_path,
)
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import LatentFMError, OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.names import is_there, shown, storable, too_long

__all__ = ["export_annotation", "label_counts", "sidecar_path", "write_labels_file"]

_OWN = ReadingConfig(max_megapixels=2**20, max_megabytes=2**24)
"""No limit: what is read back is in memory anyway."""


def write_labels_file(path: Path, labels: NDArray[Any], space: Space) -> None:
    """Write labels without provenance, atomically.

    Parameters
    ----------
    path
        The extension selects the format: ``.tif``, ``.tiff``, ``.png``, ``.nii`` or ``.nii.gz``.
    labels
        Integers from 0 to 2**32 - 1; stored as the smallest unsigned type that holds them.
    space
        Axes, steps and units.

    Raises
    ------
    OutputError, ImageError
        If the file cannot be written, or the format cannot store the labels.
    """
    values = compact(labels)
    write = writer_for(path, values, space)
    _check_names(path)
    with atomic_path(path) as temporary:
        _write_and_read_back(write, temporary, path, values, space)


def export_annotation(
    path: Path, labels: NDArray[Any], sidecar: AnnotationSidecar, orientation: str = LPS
) -> tuple[Path, Path]:
    """Write an annotation and its provenance next to it, both files or neither; return the files.

    Parameters
    ----------
    path
        As in `write_labels_file`. The provenance of ``a.tif`` is called ``a.tif.json``, so that
        two formats of one annotation each have their own.
    labels
        As in `write_labels_file`, of the shape of `sidecar`.
    sidecar
        Its `files` and `labels_digest` are filled in here.
    orientation
        Where columns, rows and planes of the image run to (`Space.orientation`), for NIfTI.

    Raises
    ------
    OutputError
        If a file cannot be written, or the JSON file exists and belongs to something else.
        Existing files are then unchanged.
    """
    values = compact(labels)
    if values.shape != sidecar.shape:
        raise OutputError(
            f"Labels of the shape {values.shape} do not fit a provenance of {sidecar.shape}."
        )
    space = Space(sidecar.axes, sidecar.spacing, sidecar.units, orientation)
    write = writer_for(path, values, space, sidecar.class_colours)
    beside = sidecar_path(path)
    _check_names(path, beside)
    _reject_foreign(beside)
    facts = {"files": (storable(path.name),), "labels_digest": labels_digest(values)}
    complete = sidecar.model_copy(update=facts)
    with contextlib.ExitStack() as stack:
        # Contexts end in reverse order: the provenance gets its name last. Until then an older
        # one shows by its digest that it does not describe the new labels.
        text = stack.enter_context(atomic_path(beside))
        text.write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
        again = read_sidecar(text)
        same = again is not None and again.model_dump_json() == complete.model_dump_json()
        check_read_back(beside, same)
        _write_and_read_back(write, stack.enter_context(atomic_path(path)), path, values, space)
    _remove_older(path)
    return path, beside


def _remove_older(path: Path) -> None:
    """Remove a provenance under its older name, ``a.json``, if it is about this file alone."""
    older = older_sidecar_path(path)
    sidecar = read_sidecar(older)
    if sidecar is not None and set(map(storable, sidecar.files)) == {storable(path.name)}:
        with contextlib.suppress(OSError):
            older.unlink()


def _check_names(*paths: Path) -> None:
    """Reject names that no file can have, before anything is written."""
    for path in paths:
        reason = too_long(path)
        if reason:
            raise OutputError(f"{shown(path.name)}: {reason}. Choose a shorter name.")


def _write_and_read_back(
    write: Write, temporary: Path, path: Path, values: NDArray[Any], space: Space
) -> None:
    """Write labels; raise `OutputError` if our own reader does not return the same."""
    write(temporary, values, space)
    try:
        read_back = read_labels_file(temporary, suffix_of(path), _OWN)
    except LatentFMError as error:
        check_read_back(path, False, str(error))
    else:
        same_size = read_back.size == values.size
        check_read_back(path, same_size and np.array_equal(read_back.reshape(values.shape), values))


def _reject_foreign(beside: Path) -> None:
    if is_there(beside) and read_sidecar(beside) is None:
        raise OutputError(
            f"{shown(beside)} already exists and is not an annotation's provenance. It would be "
            "overwritten; choose another name."
        )


def label_counts(labels: NDArray[Any]) -> dict[int, int]:
    """Return the number of pixels of each label except 0, in label order."""
    values = np.asarray(labels)
    if values.dtype == np.uint8:
        counts = np.zeros(256, np.int64)
        for part in values:
            # One plane or row at a time: bincount needs 8 bytes per pixel.
            counts += np.bincount(part.ravel(), minlength=256)
        return {value: int(count) for value, count in enumerate(counts) if value and count}
    distinct, sizes = np.unique(values, return_counts=True)
    pairs = zip(distinct.tolist(), sizes.tolist(), strict=True)
    return {value: count for value, count in pairs if value}
