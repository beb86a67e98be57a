"""Names and colours of the channels that a TIFF file describes, from OME or ImageJ metadata."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from latentfm_core.images.tiff import open_tiff

logger = logging.getLogger(__name__)

MAX_CHANNELS = 256
MAX_NAME = 60
MAX_XML = 16_000_000
"""Longest OME-XML that is parsed, in characters."""


@dataclass(frozen=True)
class Channel:
    """A channel of a stack.

    Attributes
    ----------
    name
        From the file, or ``"channel 2"``.
    colour
        ``"#rrggbb"``, or ``""`` if the file gives none.
    """

    name: str
    colour: str = ""


@dataclass(frozen=True)
class ChannelAxis:
    """The channel axis of a TIFF file.

    Attributes
    ----------
    axis
        Its position in `shape`.
    shape
        Lengths of all axes of the first series, without colours of a pixel.
    channels
        One for each position along the axis.
    """

    axis: int
    shape: tuple[int, ...]
    channels: tuple[Channel, ...]


def read_channel_axis(path: Path) -> ChannelAxis | None:
    """Return the channel axis of a TIFF file; None if there is none, or it cannot be read.

    An axis is that of channels only where OME or ImageJ metadata call it so.
    """
    try:
        with open_tiff(path) as tiff:
            if not (tiff.is_ome or tiff.is_imagej):
                return None
            series = tiff.series[0]
            pairs = zip(series.axes, series.shape, strict=True)
            kept = [(label, int(length)) for label, length in pairs if label != "S"]
            labels = [label for label, _ in kept]
            if "C" not in labels:
                return None
            axis, shape = labels.index("C"), tuple(length for _, length in kept)
            if not 1 < shape[axis] <= MAX_CHANNELS:
                return None
            found = _ome(tiff.ome_metadata) if tiff.is_ome else _imagej(tiff.imagej_metadata)
    except Exception as error:  # parsers raise nearly any type; whoever opens the image reports it
        logger.info("%s: no channel names (%s)", path, error)
        return None
    missing = [Channel(f"channel {number}") for number in range(1, shape[axis] + 1)]
    named = [
        a if a.name else Channel(b.name, a.colour) for a, b in zip(found, missing, strict=False)
    ]
    return ChannelAxis(axis, shape, (*named, *missing[len(named) :]))


def _ome(text: str | None) -> list[Channel]:
    """Return the channels of the first image of OME-XML."""
    if text is None or len(text) > MAX_XML:
        return []
    root = ElementTree.fromstring(text)
    pixels = next((node for node in root.iter() if _tag(node) == "Pixels"), None)
    if pixels is None:
        return []
    nodes = [node for node in pixels if _tag(node) == "Channel"]
    return [Channel(_clean(n.get("Name")), _ome_colour(n.get("Color"))) for n in nodes]


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _ome_colour(value: str | None) -> str:
    """Return a colour of OME, a signed 32-bit integer of red, green, blue and alpha."""
    try:
        packed = int(value or "") & 0xFFFFFFFF
    except ValueError:
        return ""
    return f"#{packed >> 8:06x}"


def _imagej(metadata: dict[str, Any] | None) -> list[Channel]:
    """Return the channels that ImageJ's slice labels name; it has one label for each plane."""
    facts = metadata or {}
    labels, count = facts.get("Labels"), facts.get("channels", 0)
    if not isinstance(labels, list) or not isinstance(count, int) or len(labels) < count:
        return []
    return [Channel(_clean(str(label))) for label in labels[:count]]


def _clean(name: str | None) -> str:
    return "".join(c for c in name or "" if c.isprintable()).strip()[:MAX_NAME]
