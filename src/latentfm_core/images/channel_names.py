"""Names and colours of channels, from the OME or ImageJ metadata of TIFF and the OME of Zarr."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from latentfm_core.images.tiff import main_series, open_tiff

logger = logging.getLogger(__name__)

MAX_CHANNELS = 256
MAX_NAME = 60
MAX_XML = 16_000_000
"""Longest OME-XML that is parsed, in characters."""

_COLOURS = (("red", "r", "#ff0000"), ("green", "g", "#00ff00"), ("blue", "b", "#0000ff"))
_NUMBERED = re.compile(r"(?:(?:ch|c|channel|image)?[:_#-]*\d+(?:[:/]\d+)*)?")
"""Names that only number the channels, without spaces: ``channel1``, ``c2``, ``0``."""
_DECORATION = re.compile(r"^(?:[ctz]:\d+/\d+\s+)*(?:[ctz]:\d+/\d+\s*)(?:-\s*)?|\s|channel$")
"""Bio-Formats' ``c:1/3 t:1/5 - name``, spaces, and ``red channel``."""


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

    An axis is that of channels only if OME or ImageJ metadata say so.
    """
    try:
        with open_tiff(path) as tiff:
            if not (tiff.is_ome or tiff.is_imagej):
                return None
            series = main_series(tiff)
            pairs = zip(series.axes, series.shape, strict=True)
            kept = [(label, int(length)) for label, length in pairs if label != "S"]
            labels = [label for label, _ in kept]
            if "C" not in labels:
                return None
            axis, shape = labels.index("C"), tuple(length for _, length in kept)
            if not 1 < shape[axis] <= MAX_CHANNELS:
                return None
            found = tiff_channels(tiff)
    except Exception as error:  # parsers raise nearly any type; the reader of the pixels reports it
        logger.info("%s: no channel names (%s)", path, error)
        return None
    return ChannelAxis(axis, shape, with_names(found, shape[axis]))


def with_names(found: Sequence[Channel], count: int) -> tuple[Channel, ...]:
    """Return `count` channels, all with a name."""
    missing = [Channel(f"channel {number}") for number in range(1, count + 1)]
    named = [
        a if a.name else Channel(b.name, a.colour) for a, b in zip(found, missing, strict=False)
    ]
    return (*named, *missing[len(named) :])


def tiff_channels(tiff: Any) -> list[Channel]:
    """Return the channels that an open TIFF file describes; empty if it describes none."""
    try:
        if tiff.is_ome:
            return _ome(tiff.ome_metadata)
        return _imagej(tiff.imagej_metadata) if tiff.is_imagej else []
    except Exception as error:  # the parsers raise nearly any type; pixels are read without names
        logger.info("no channel names (%s)", error)
        return []


def zarr_channels(attributes: dict[str, Any]) -> list[Channel]:
    """Return the channels of an OME-NGFF group (its section on omero); empty without them."""
    facts = attributes.get("omero") or attributes.get("ome", {}).get("omero")
    channels = facts.get("channels") if isinstance(facts, dict) else None
    if not isinstance(channels, list):
        return []
    return [
        Channel(_clean(str(each.get("label") or "")), _hex_colour(each.get("color")))
        for each in channels[:MAX_CHANNELS]
        if isinstance(each, dict)
    ]


def are_colours(channels: Sequence[Channel]) -> bool:
    """Return whether three channels may be red, green and blue, in this order.

    Names must be those of the colours, or only number the channels; colours must be red, green
    and blue, or the same for all channels. Channels without names and colours pass.
    """
    shades = {channel.colour for channel in channels}
    for channel, (colour, letter, shade) in zip(channels, _COLOURS, strict=False):
        name = _DECORATION.sub("", channel.name.lower())
        if name not in {colour, letter} and not _NUMBERED.fullmatch(name):
            return False
        if len(shades) > 1 and channel.colour not in {"", shade}:
            return False
    return True


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
    """Return the channels of ImageJ's slice labels (one for each plane) and lookup tables."""
    facts = metadata or {}
    labels, count = facts.get("Labels"), facts.get("channels", 0)
    if not isinstance(count, int) or not 1 < count <= MAX_CHANNELS:
        return []
    names = [""] * count
    if isinstance(labels, list) and len(labels) >= count:
        names = [_clean(str(label)) for label in labels[:count]]
    tables, shades = facts.get("LUTs"), [""] * count
    if isinstance(tables, list) and len(tables) == count and facts.get("mode") != "grayscale":
        shades = [_shade(table) for table in tables]
    return [Channel(name, shade) for name, shade in zip(names, shades, strict=True)]


def _shade(table: Any) -> str:
    """Return the brightest colour of an ImageJ lookup table ``(3, 256)``."""
    values = np.asarray(table)
    if values.shape != (3, 256):
        return ""
    red, green, blue = (int(level) for level in values[:, -1])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _hex_colour(value: Any) -> str:
    """Return a colour of OME-NGFF, six hexadecimal digits."""
    text = str(value or "").lower().removeprefix("#")
    return f"#{text}" if re.fullmatch("[0-9a-f]{6}", text) else ""


def _clean(name: str | None) -> str:
    return "".join(c for c in name or "" if c.isprintable()).strip()[:MAX_NAME]
