"""Find images of a work list whose file was replaced after they were annotated."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError, ResourceError
from latentfm_core.images.read import read_image
from latentfm_core.names import counted, name_some

NAMED = 3
"""Number of images that a message names."""


def is_replaced(
    image: Path, sidecar: AnnotationSidecar | None, limits: ReadingConfig = READING
) -> bool:
    """Return whether a file has other pixels than those that were annotated.

    Only a file that has changed since then is read.

    Parameters
    ----------
    image
        The file of the image.
    sidecar
        Provenance of its annotation; without it, the pixels are not known.
    """
    if sidecar is None or not sidecar.image_signature:
        return False
    try:
        state = image.stat()
        if max(state.st_mtime, state.st_ctime) <= _seconds(sidecar.created):
            return False
        return image_signature(read_image(image, limits).pixels) != sidecar.image_signature
    except (OSError, ImageError, ResourceError):
        return False  # reported when the image is opened


def of_replaced(names: Collection[str]) -> str:
    """Return a caution about replaced images, or "" if there are none."""
    if not names:
        return ""
    were, each = counted(len(names), "image was", "images were"), "each" if len(names) > 1 else "it"
    return (
        f"{were} replaced or changed after being accepted: {name_some(names, NAMED)}. Open {each}, "
        "check that the annotation fits, and accept it again."
    )


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0
