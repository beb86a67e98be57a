"""The layer of an image of the work list."""

from __future__ import annotations

from typing import Any

from napari.layers import Image

from latentfm_core.types import ImageInput


def image_layer(image: ImageInput) -> Image:
    """Return the layer of an image: in colour for RGB and RGBA, else its first channel."""
    pixels = image.pixels
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.ndim == 3 and not colour:
        pixels = pixels[..., 0]
    options: dict[str, Any] = {}
    if image.spacing is not None:
        options = {"scale": image.spacing, "units": (image.unit, image.unit)}
    return Image(pixels, rgb=colour, name=image.name, **options)
