"""Result layers that the user has edited since they were written."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.layers.stacks import part_indices

if TYPE_CHECKING:
    from napari.layers import Layer


class EditedLayers(Enum):
    """Action for result layers that the user has edited since they were written."""

    KEEP = "keep"
    OVERWRITE = "overwrite"
    CANCEL = "cancel"


AskAboutEdits = Callable[[Sequence[str]], EditedLayers]
"""Called with the names of the edited layers."""


def is_result(layer: Layer) -> bool:
    """Return whether a layer contains a result of this plugin, or a copy of one."""
    return METADATA_KEY in layer.metadata


def digest(data: Any) -> str:
    """Return a fingerprint of an array's shape and content."""
    array = np.ascontiguousarray(data)
    content = hashlib.blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    content.update(array.data)
    return content.hexdigest()


def checksum(data: Any) -> str:
    """Return a CRC-32 of an array's content, about four times as fast as `digest`.

    It runs in the GUI thread, and stacks are large. One edit in 2^32 would be missed.
    """
    return f"{zlib.crc32(np.ascontiguousarray(data).data):08x}"


def is_edited(layer: Layer) -> bool:
    """Return whether a result layer was edited since it was written.

    The pyramid of a large image cannot be edited; hashing it would freeze the window.
    """
    facts = layer.metadata[METADATA_KEY]
    if layer.multiscale and facts["digest"] is None:
        return False
    return bool(facts["digest"] != fingerprint(facts, layer.data))


def part_is_edited(layer: Layer, number: int) -> bool:
    """Return whether one plane of a stack was edited since it was written."""
    facts = layer.metadata[METADATA_KEY]
    indices = plane_indices(facts, layer.data)
    if len(indices) != len(facts["digest"]):
        return True
    return bool(facts["digest"][number] != checksum(layer.data[indices[number]]))


def plane_indices(facts: dict[str, Any], data: Any) -> list[tuple[slice, ...]]:
    """Return the index of each plane in the data of a stack."""
    return part_indices(facts["along"], len(facts["plane"]), data.shape)


def fingerprint(facts: dict[str, Any], data: Any) -> str | list[str]:
    """Return the digest of a result, or a checksum of each plane of a stack."""
    if "along" not in facts:
        return digest(data)
    return [checksum(data[index]) for index in plane_indices(facts, data)]
