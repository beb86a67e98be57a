"""Classify the channels of a file: colours, alpha, or measurements to choose from.

Based on the photometric interpretation, ``ExtraSamples`` (TIFF 6.0, section 18) and the axis
letters. The number of channels is not enough: two may be two stains, and three or four pages
may be a time series.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.images.channel_names import Channel, are_colours, with_names
from latentfm_core.names import counted, shown

logger = logging.getLogger(__name__)

COLOURS = 3
_NAMES_SHOWN = 8

_COLOURED = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
_ALPHA = (1, 2)
"""Values of the tag ExtraSamples: associated and unassociated alpha."""


@dataclass(frozen=True)
class Channels:
    """Use of a file's channel axis.

    Attributes
    ----------
    kind
        ``"alpha"``: colours or grey, and alpha as the last one; ``"colours"``: the first three
        are red, green and blue; ``"measured"``: one must be chosen.
    described
        Names and colours of the channels, as far as the file gives them.
    """

    count: int
    kind: Literal["alpha", "colours", "measured"]
    described: tuple[Channel, ...] = ()


def channels_of(page: Any, label: str, count: int, described: Sequence[Channel] = ()) -> Channels:
    """Return the kind of channels in a TIFF.

    Parameters
    ----------
    page
        The key frame of the series.
    label
        Axis letter: S for samples of a pixel, C for channels.
    """
    if label == "C":
        return named_channels(count, described)
    coloured = page.photometric in _COLOURED
    own = COLOURS if coloured else 1
    extra = tuple(int(value) for value in page.extrasamples)
    if count == own + 1 and extra and extra[-1] in _ALPHA:
        return Channels(count, "alpha")
    return Channels(count, "colours" if coloured and count >= COLOURS else "measured")


def named_channels(count: int, described: Sequence[Channel] = ()) -> Channels:
    """Return the kind of channels on a separate axis.

    Three are red, green and blue unless their names or colours say otherwise: DAPI, GFP and Cy5
    are measurements.
    """
    known = tuple(described) if len(described) == count else ()
    kind: Literal["colours", "measured"] = "measured"
    if count == COLOURS and are_colours(known):
        kind = "colours"
    return Channels(count, kind, known)


def check_channel(name: str, channels: Channels, chosen: int | None) -> None:
    """Reject channels if one must be chosen and none was.

    Parameters
    ----------
    chosen
        Number of the channel to use, counted from 1, or None.

    Raises
    ------
    ImageError
        If none was chosen, or the chosen channel does not exist.
    """
    if chosen is None and channels.kind == "measured":
        raise ImageError(
            f"{name}: {channels.count} channels that the file does not mark as colours or "
            f"alpha{_listed(channels)}. Choose one: --channel 1 (data.reading.channel), for masks "
            "only --mask-channel 1 (data.reading.mask_channel), or Channel in the tab Folder."
        )
    if chosen is not None and not 1 <= chosen <= channels.count:
        raise ImageError(
            f"{name}: channel {chosen} does not exist; the file has {channels.count}. Choose "
            "another --channel (data.reading.channel; for masks, --mask-channel), counted from 1."
        )


def _listed(channels: Channels) -> str:
    """Return the numbers and names of the channels for a message, if any has a name."""
    if not any(each.name for each in channels.described):
        return ""
    names = [
        f"{number} {shown(each.name)}"
        for number, each in enumerate(with_names(channels.described, channels.count), start=1)
    ]
    more = f", ... ({len(names)} in all)" if len(names) > _NAMES_SHOWN else ""
    return f" ({', '.join(names[:_NAMES_SHOWN])}{more})"


def chosen_colour(name: str, pixels: NDArray[Any], chosen: int | None) -> NDArray[Any]:
    """Return the chosen channel of red, green and blue ``(H, W, 3 or 4)``; None keeps them.

    Raises `ImageError` as `check_channel` does.
    """
    if chosen is None:
        return pixels
    return used_channels(name, pixels[..., :COLOURS], Channels(COLOURS, "colours"), chosen)


def used_channels(
    name: str, pixels: NDArray[Any], channels: Channels, chosen: int | None
) -> NDArray[Any]:
    """Return the channels of ``(..., C)`` to use: one, three, or with alpha last.

    Raises `ImageError` as `check_channel` does.
    """
    check_channel(name, channels, chosen)
    if chosen is not None:
        return pixels[..., chosen - 1]
    if channels.kind == "alpha" or channels.count == COLOURS:
        return pixels
    left_out = channels.count - COLOURS
    logger.warning(
        "%s: ignored after red, green and blue: %s not marked as alpha",
        name,
        counted(left_out, "channel"),
    )
    return np.ascontiguousarray(pixels[..., :COLOURS])
