"""Small pictures in a report: data URIs, outlines, and the confidence colour map."""

from __future__ import annotations

import base64
import io
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentfm_core.types import Bool, Float32
from latentfm_core.uncertainty.contours import agreement_contours

UInt8 = NDArray[np.uint8]
Level = TypeVar("Level", np.uint8, np.float32)

QUALITY = 85
"""JPEG quality."""

_RAMP = ((0.0, (0, 0, 0)), (0.5, (213, 94, 0)), (0.8, (240, 200, 80)), (1.0, (255, 255, 255)))
"""Black, vermilion, yellow, white: lighter means more confident, also in greyscale."""


def fitted_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return ``(height, width)`` of an image that is made to fit a square of `side`."""
    height, width = shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(pixels: NDArray[Level], size: tuple[int, int]) -> NDArray[Level]:
    """Return pixels ``(H, W)``, or ``(H, W, 3)`` of uint8, at `size` (height, width), by area."""
    if pixels.shape[:2] == size:
        return pixels
    small = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(small)


def shrunk_mask(mask: NDArray[Any], size: tuple[int, int]) -> Bool:
    """Return a mask at `size`: pixels of which at least half are foreground."""
    return np.asarray(shrunk((mask != 0).astype(np.uint8) * 255, size) >= 128)


def eight_bit(rgb: Float32) -> UInt8:
    """Return values in [0, 1] as 0 to 255."""
    levels: UInt8 = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return levels


def data_uri(pixels: UInt8) -> str:
    """Return pixels ``(H, W)`` or ``(H, W, 3)`` as the data URI of a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def confidence_colours(confidence: Float32) -> UInt8:
    """Return colours ``(..., 3)`` of confidence in [0, 1], white where it is 1."""
    stops = [stop for stop, _ in _RAMP]
    channels = zip(*(colour for _, colour in _RAMP), strict=True)
    mapped = [np.interp(confidence, stops, channel) for channel in channels]
    colours: UInt8 = np.rint(np.stack(mapped, axis=-1)).astype(np.uint8)
    return colours


def outline(mask: Bool) -> str:
    """Return the border of a mask ``(H, W)`` as the path of an SVG with a unit per pixel."""
    if not mask.any():
        return ""
    found = agreement_contours(mask[None], (0.5,))[0].paths
    # A pixel's centre is at a whole number in the contours, at a half in SVG.
    lines = (" ".join(f"{x + 0.5:.1f},{y + 0.5:.1f}" for y, x in path[:-1]) for path in found)
    return "".join(f"M{line}Z" for line in lines)
