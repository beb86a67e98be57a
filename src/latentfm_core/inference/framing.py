"""Turn an image and a prompt into network input."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentfm_core.config import DataConfig
from latentfm_core.images.canvas import to_canvas, window_to_canvas
from latentfm_core.prompts.field import Window, field_of
from latentfm_core.prompts.maps import prompt_maps
from latentfm_core.prompts.prompt import Prompt
from latentfm_core.types import Float32, Geometry


@dataclass(frozen=True)
class Frame:
    """A canvas and its prompt.

    Attributes
    ----------
    canvas
        ``(S, S, 3)`` float32 in [0, 1].
    maps
        ``(4, S, S)`` float32 of `prompt_maps`, or None without a prompt.
    """

    canvas: Float32
    geometry: Geometry
    maps: Float32 | None


def frame(rgb: Float32, prompt: Prompt | None, data: DataConfig, field_scale: float) -> Frame:
    """Return a canvas of the whole image, or of the field around a prompt.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` float32 in [0, 1].
    prompt
        A validated prompt, or None.
    data
        Sets the canvas side, and how a whole image is fitted to it.
    field_scale
        Side of the field around a box, in multiples of the box's longer side.
    """
    shape = (rgb.shape[0], rgb.shape[1])
    window = None if prompt is None else field_of(prompt, shape, field_scale)
    seen = frame_at(rgb, window, data)
    return seen if prompt is None else replace(seen, maps=prompt_maps(prompt, seen.geometry))


def frame_at(rgb: Float32, window: Window | None, data: DataConfig) -> Frame:
    """Return a canvas of a window of the image, None for all of it, without a prompt."""
    if window is None:
        return Frame(*to_canvas(rgb, data.size, data.fit), None)
    return Frame(*window_to_canvas(rgb, data.size, window), None)
