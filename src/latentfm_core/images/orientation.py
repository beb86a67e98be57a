"""Find the orientation of photographs that a viewer shows as stored.

The commands apply the EXIF or TIFF orientation; napari opens the pixels as stored. Exports from a
layer must have the orientation that the commands read.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.decode import decode
from latentfm_core.images.decoded import unorient
from latentfm_core.images.signature import image_signature
from latentfm_core.names import storable

logger = logging.getLogger(__name__)

_MAX_PROVENANCE = 16_000_000


def orientation_to_apply(path: Path, pixels: Any, limits: ReadingConfig = READING) -> int:
    """Return the orientation (1 to 8) that turns `pixels` into those read from `path`.

    Reads the file, so call it in a worker thread.

    It is 1 if they already match, or the file can no longer be read.

    Parameters
    ----------
    path
        The file that the pixels were opened from.
    pixels
        ``(H, W)`` or ``(H, W, C)``, as stored in the file or already oriented.
    """
    try:
        decoded = decode(path, limits)
    except LatentFMError as error:
        logger.debug("unknown orientation of %s: %s", path, error)
        return 1
    if decoded.orientation == 1:
        return 1
    given = np.asarray(pixels)
    if given.shape[:2] == decoded.pixels.shape[:2] and _alike(given, decoded.pixels):
        return 1
    stored = unorient(decoded.pixels, decoded.orientation)
    return decoded.orientation if given.shape[:2] == stored.shape[:2] else 1


def provenance_places(mask: Path) -> tuple[Path, Path]:
    """Return where the provenance of a mask may be: ``a.png.json``, and ``a.json`` before."""
    return mask.with_name(f"{mask.name}.json"), mask.with_suffix(".json")


def drawn_as_read(mask: Path, orientation: int, pixels: NDArray[Any]) -> bool:
    """Return whether a mask was drawn on an image as the commands read it.

    Only the provenance file that napari-latentfm writes next to its masks can tell.

    Parameters
    ----------
    mask
        The file of the mask, without its own orientation.
    orientation
        That of the image file, already applied to `pixels`.
    """
    for place in provenance_places(mask):
        try:
            found = parse_json(read_bounded(place, _MAX_PROVENANCE))
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict) or found.get("kind") != "annotation":
            continue
        files = found.get("files")
        if isinstance(files, list) and storable(mask.name) in files:
            # It was turned on export, or drawn on the image as it is read.
            turned = found.get("orientation") == orientation
            return turned or found.get("image_signature") == image_signature(pixels)
    return False


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    colours = [each[..., np.newaxis] if each.ndim == 2 else each[..., :3] for each in (one, other)]
    channels = min(each.shape[-1] for each in colours)
    first, second = (each[..., :channels] for each in colours)
    return bool(np.array_equal(first, second))
