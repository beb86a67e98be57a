"""Write an annotation and its provenance to files, oriented as the commands read the image."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.formats import LPS
from latentfm_core.annotation.interchange import ENDINGS, ending_of
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.nifti import read_orientation
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.errors import ImageError
from latentfm_core.files.disk_errors import check_folder_exists
from latentfm_core.images.decoded import orient
from latentfm_core.images.orientation import orientation_to_apply
from napari_latentfm.annotation.provenance import Facts, sidecar_of
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from napari.layers import Image

_SIGNATURES: WeakKeyDictionary[Image, tuple[ReferenceType[Any], str]] = WeakKeyDictionary()
"""The array that was read, and its signature."""


def signature_of(layer: Image) -> str:
    """Return the signature of an image layer's pixels, cached until the layer has other data.

    It reads the image, so call it in a worker thread.
    """
    data = level_zero(layer)
    known = _SIGNATURES.get(layer)
    if known is not None and known[0]() is data:
        return known[1]
    signature = image_signature(data)
    # Some lazy arrays allow no weak references; their signature is computed each time.
    with contextlib.suppress(TypeError):
        _SIGNATURES[layer] = (ref(data), signature)
    return signature


def export_file(path: Path, facts: Facts, labels: NDArray[Any]) -> tuple[Path, Path]:
    """Write labels and provenance; for a worker thread.

    Raises
    ------
    ImageError
        If the image is closed.
    OutputError
        If the files cannot be written.
    """
    layer = facts.origin.layer()
    if layer is None:
        raise ImageError("The image of this annotation is closed. Open it and try again.")
    check_folder_exists(path.parent)
    turn = orientation_of(layer)
    sidecar = sidecar_of(facts, labels, signature_as_read(layer, turn))
    if turn != 1:
        labels, sidecar = orient(labels, turn), _turned(sidecar, turn)
    return export_annotation(path, labels, sidecar, body_axes_of(layer))


def export_interchange(path: Path, facts: Facts, labels: NDArray[Any]) -> None:
    """Write labels in the format of the file's suffix; for a worker thread.

    Raises
    ------
    ImageError
        If the image is closed.
    OutputError
        If the file cannot be written, or the labels do not fit its format.
    """
    layer, ending, origin = facts.origin.layer(), ending_of(path), facts.origin
    if layer is None or ending is None:
        raise ImageError("The image of this annotation is closed. Open it and try again.")
    check_folder_exists(path.parent)
    turn, size = orientation_of(layer), origin.space.pixel_size()
    if turn != 1:
        labels = orient(labels, turn)
    if turn > 4 and size is not None:
        size = replace(size, row=size.column, column=size.row)
    file = Path(layer.source.path) if layer.source.path else None
    labelled = LabelledImage(
        origin.image, labels, facts.names, size, file, origin.colours, origin.classes
    )
    ENDINGS[ending](path, labelled)


def orientation_of(layer: Image) -> int:
    """Return the orientation that the commands apply to a layer's file but napari did not.

    It reads the file, so call it in a worker thread.
    """
    if layer.ndim != 2 or not layer.source.path:
        return 1
    return orientation_to_apply(Path(layer.source.path), level_zero(layer), reading_limits())


def nifti_file_of(layer: Image) -> Path | None:
    """Return the NIfTI file that an image layer was opened from, if it was."""
    path = Path(layer.source.path) if layer.source.path else None
    return path if path is not None and path.name.lower().endswith((".nii", ".nii.gz")) else None


def body_axes_of(layer: Image) -> str:
    """Return where columns, rows and planes of an image layer run to (`Space.orientation`).

    Of NIfTI files napari-nifti turns the axes to RAS and mirrors the layer by negative steps; other
    readers keep them as stored. It reads the file, so call it in a worker thread.
    """
    axes, path = axes_by_steps(layer.scale), nifti_file_of(layer)
    if path is None or axes != LPS:
        return axes
    stored = read_orientation(path)
    return LPS if stored is None else stored.axes


def axes_by_steps(scale: Any) -> str:
    """Return where the axes of a layer of this scale run to: LPS, reversed by negative steps."""
    rows, columns = scale[-2:]
    return f"{'R' if columns < 0 else 'L'}{'A' if rows < 0 else 'P'}S"


def signature_as_read(layer: Image, turn: int) -> str:
    """Return the signature of an image layer as the commands read its file."""
    if turn == 1:
        return signature_of(layer)
    return image_signature(np.ascontiguousarray(orient(np.asarray(level_zero(layer)), turn)))


def _turned(sidecar: AnnotationSidecar, turn: int) -> AnnotationSidecar:
    """Return the provenance of rotated labels; its entries about planes do not change."""
    update: dict[str, Any] = {"orientation": turn}
    if turn > 4:
        update["shape"] = sidecar.shape[::-1]
        update["spacing"] = sidecar.spacing and sidecar.spacing[::-1]
        update["units"] = sidecar.units[::-1]
    return sidecar.model_copy(update=update)
