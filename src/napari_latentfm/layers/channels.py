"""The channel axis of a layer that was opened from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from latentfm_core.images.channel_names import Channel, ChannelAxis, read_channel_axis
from napari_latentfm.layers.pyramid import level_zero

if TYPE_CHECKING:
    from napari.layers import Image

SUFFIXES = (".tif", ".tiff")
_KNOWN: WeakKeyDictionary[Image, ChannelAxis] = WeakKeyDictionary()


def find_channels(layer: Image) -> ChannelAxis | None:
    """Return the channel axis of a stack, read from its file.

    Call it in a worker thread. The axis is remembered for `channel_axis_of`.
    """
    path = layer.source.path
    if layer.ndim < 3 or not path or Path(path).suffix.lower() not in SUFFIXES:
        return None
    found = read_channel_axis(Path(path))
    # A reader may have dropped axes, or made each channel a separate layer.
    if found is None or found.shape != tuple(level_zero(layer).shape[: layer.ndim]):
        return None
    _KNOWN[layer] = found
    return found


def channel_axis_of(layer: Image) -> int | None:
    """Return the axis that `find_channels` found to be that of channels."""
    known = _KNOWN.get(layer)
    return None if known is None else known.axis


__all__ = ["Channel", "ChannelAxis", "channel_axis_of", "find_channels"]
