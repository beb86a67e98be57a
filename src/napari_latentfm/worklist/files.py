"""Reading and writing of work-list annotations, in any thread."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.export import export_annotation, write_labels_file
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.formats import Space
from latentfm_core.annotation.provenance import AnnotationSidecar, file_name
from latentfm_core.annotation.reading import older_sidecar_path, read_annotation, sidecar_path
from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.images.read import read_image
from latentfm_core.output.paths import name_problem
from latentfm_core.types import ImageInput
from latentfm_core.worklist.classes import add_classes
from latentfm_core.worklist.state import WorkList, existing_image, set_aside
from napari_latentfm.annotation.provenance import Facts, sidecar_of
from napari_latentfm.reading import reading_limits


@dataclass(frozen=True)
class Snapshot:
    """A copy of the labels of an annotation, and its provenance at that moment."""

    name: str
    labels: NDArray[Any]
    digest: str
    facts: Facts | None
    space: Space
    pixels: NDArray[Any]


@dataclass(frozen=True)
class Opened:
    """An image, its file, and its saved annotation."""

    image: ImageInput
    path: Path
    labels: NDArray[Any] | None = None
    sidecar: AnnotationSidecar | None = None
    warning: str = ""


def save(snapshot: Snapshot, path: Path) -> None:
    """Write an annotation as TIFF, with its provenance if that is known.

    Raises
    ------
    LatentFMError
        If it cannot be written; an existing file does not change.
    """
    facts = snapshot.facts
    if facts is None:
        write_labels_file(path, snapshot.labels, snapshot.space)
        return
    origin = replace(facts.origin, image=file_name(snapshot.name))
    signature = image_signature(snapshot.pixels)
    sidecar = sidecar_of(replace(facts, origin=origin), snapshot.labels, signature)
    export_annotation(path, snapshot.labels, sidecar)


def save_in(work: WorkList, snapshot: Snapshot, path: Path) -> None:
    """Save an annotation in the output folder of a work list, see `save`.

    Raises `LatentFMError` as `save` does, and if that folder has disappeared.
    """
    work.check_exists()
    save(snapshot, path)
    if snapshot.facts is not None:
        add_classes(work.output, snapshot.facts.names)


def remove(path: Path) -> None:
    """Remove an annotation that was saved elsewhere; failures are ignored."""
    for file in (path, sidecar_path(path), older_sidecar_path(path)):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def load(path: Path, image: ImageInput | None, kept: Path | None, target: Path) -> Opened:
    """Read an image and its saved annotation.

    An annotation that cannot be used is renamed, not overwritten.

    Parameters
    ----------
    path, image
        File of the image, and its content if it was read before.
    kept
        File of the saved annotation, or None.
    target
        File to which the annotation will be written, with its provenance beside it.

    Raises
    ------
    ImageError
        If the image cannot be read, or its annotation could not be named after it.
    """
    problem = name_problem(path, (target, sidecar_path(target)))
    if problem:
        raise ImageError(problem)
    limits = reading_limits()
    pixels = read_image(existing_image(path), limits) if image is None else image
    if kept is None:
        return Opened(pixels, path)
    try:
        labels, sidecar = read_annotation(kept, limits)
        wanted = pixels.pixels.shape[:2]
        if np.squeeze(labels).shape == np.squeeze(np.empty(wanted, bool)).shape:
            fitting = labels.reshape(wanted).astype(np.uint8)
            return Opened(pixels, path, fitting, sidecar, _of_other_pixels(path, pixels, sidecar))
        problem = f"{kept.name} has the shape {labels.shape}, but its image has {wanted}."
    except LatentFMError as error:
        problem = str(error)
    aside = set_aside(kept)
    return Opened(pixels, path, warning=f"{problem} It is kept as {aside.name}.")


def _of_other_pixels(path: Path, image: ImageInput, sidecar: AnnotationSidecar | None) -> str:
    """Return a caution if an annotation was drawn on other pixels than the image now has."""
    drawn_on = "" if sidecar is None else sidecar.image_signature
    if drawn_on in ("", image_signature(image.pixels)):
        return ""
    return (
        f"Caution: {path.name} has changed, or is another image, since its annotation was drawn. "
        "Check that they fit."
    )
