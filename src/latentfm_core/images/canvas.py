"""Mapping between images of any size and the network's square canvas."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from latentfm_core.images.intensity import different_values
from latentfm_core.types import Bool, Float32, Geometry

Fit = Literal["pad", "stretch"]


def canvas_geometry(shape: tuple[int, int], size: int, fit: Fit) -> Geometry:
    """Return the position of an image of `shape` ``(H, W)`` on a canvas of side `size`.

    ``"stretch"`` fills the canvas. ``"pad"`` keeps the aspect ratio: the longer side becomes
    `size`, the shorter one at least 1 pixel, centred.
    """
    height, width = shape
    if fit == "stretch":
        return Geometry(shape, size, (0, 0, size, size))
    scale = size / max(height, width)
    rows = min(size, max(1, round(height * scale)))
    columns = min(size, max(1, round(width * scale)))
    box = ((size - rows) // 2, (size - columns) // 2, rows, columns)
    return Geometry(shape, size, box)


def to_canvas(rgb: Float32, size: int, fit: Fit) -> tuple[Float32, Geometry]:
    """Resize an image onto the canvas.

    Bilinear with half-pixel centres; if a side shrinks, the kernel widens with it
    (anti-aliasing). Padding repeats the nearest edge pixel.

    Parameters
    ----------
    rgb
        ``(H, W, C)`` float32 in [0, 1].
    size
        Side of the canvas in pixels.

    Returns
    -------
    canvas
        ``(size, size, C)`` float32 in [0, 1], a new array.
    geometry
        What `from_canvas` needs to map back.
    """
    geometry = canvas_geometry((rgb.shape[0], rgb.shape[1]), size, fit)
    content = _resize(np.moveaxis(rgb, -1, 0), geometry.box[2:])
    content = np.clip(np.moveaxis(content, 0, -1), 0.0, 1.0)
    padded = np.pad(content, (*_margins(geometry), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded, dtype=np.float32), geometry


def mask_to_canvas(mask: Bool, size: int, fit: Fit) -> Bool:
    """Resize a mask ``(H, W)`` onto the canvas as `to_canvas` does its image.

    A canvas pixel is foreground when at least half of it is. Padding repeats the edge.
    """
    geometry = canvas_geometry((mask.shape[0], mask.shape[1]), size, fit)
    cover = _resize(mask[np.newaxis], geometry.box[2:])[0]
    return np.pad(cover >= 0.5, _margins(geometry), mode="edge")


def labels_to_canvas(labels: NDArray[Any], size: int, fit: Fit) -> NDArray[Any]:
    """Resize a label or boolean mask onto the canvas as `to_canvas` does its image.

    A canvas pixel takes the class that covers most of it.
    """
    values = different_values(labels)
    if labels.dtype == np.bool_ or values.size == 1:
        inside = mask_to_canvas(np.asarray(labels > 0), size, fit)
        return np.asarray(inside * values[-1:])
    geometry = canvas_geometry((labels.shape[0], labels.shape[1]), size, fit)
    cover = _resize(labels == values[:, None, None], geometry.box[2:])
    chosen: NDArray[Any] = values[cover.argmax(axis=0)]
    return np.pad(chosen, _margins(geometry), mode="edge")


def strokes_to_canvas(strokes: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Resize strokes ``(H, W)``, 0 for unmarked, onto the canvas as `to_canvas` does the image.

    A canvas pixel takes the label that covers most of it, even a small share: a thin stroke
    on a large image must not be lost. Padding is unmarked.
    """
    geometry = canvas_geometry((strokes.shape[0], strokes.shape[1]), size, fit)
    values = np.unique(strokes[strokes > 0])
    if values.size == 0:
        return np.zeros((size, size), np.uint8)
    cover = _resize(strokes == values[:, None, None], geometry.box[2:])
    # Half the pixel, or half of what the thinnest stroke covers: excludes what bilinear
    # resizing smears beyond the brush.
    needed = np.minimum(0.5, cover.max(axis=(1, 2), keepdims=True) / 2)
    marked = (cover >= needed).any(axis=0)
    chosen = np.where(marked, values[(cover / needed).argmax(axis=0)], 0).astype(np.uint8)
    return np.pad(chosen, _margins(geometry))


def from_canvas(values: Float32, geometry: Geometry) -> Float32:
    """Crop the image region from canvas maps and resize it to the image.

    Parameters
    ----------
    values
        ``(..., S, S)`` float32, S = ``geometry.canvas``.

    Returns
    -------
    Float32
        ``(..., H, W)``, resized as by `to_canvas`. An unchanged size is copied exactly.
        Pixels of the image outside the window that the canvas shows are 0.

    Raises
    ------
    ValueError
        If the shape of `values` does not match the canvas.
    """
    side = geometry.canvas
    if values.shape[-2:] != (side, side):
        raise ValueError(f"expected (..., {side}, {side}) values, got {values.shape}")
    top, left, rows, columns = geometry.box
    content = values[..., top : top + rows, left : left + columns]
    flat = content.reshape(-1, rows, columns)
    window = window_of(geometry)
    shape = tuple(part.stop - part.start for part in window)
    resized = _resize(flat, (shape[0], shape[1])).reshape(*values.shape[:-2], *shape)
    if geometry.window is None:
        return resized
    full = np.zeros((*values.shape[:-2], *geometry.shape), np.float32)
    full[..., window[0], window[1]] = resized
    return full


def between_canvases(values: Float32, source: Geometry, target: Geometry) -> Float32:
    """Resample a map of one canvas of an image onto another canvas of it.

    Returns ``(T, T)``, T = ``target.canvas``, bilinear; 0 outside what `source` shows.

    Parameters
    ----------
    values
        ``(S, S)`` float32, S = ``source.canvas``.
    """
    axes = [_resampling(axis, source, target) for axis in (0, 1)]
    (upper, lower, down, rows), (before, behind, right, columns) = axes
    lines = values[upper] * (1 - down)[:, None] + values[lower] * down[:, None]
    mixed = lines[:, before] * (1 - right) + lines[:, behind] * right
    placed: Float32 = np.where(rows[:, None] & columns, mixed, 0).astype(np.float32)
    return placed


def _resampling(
    axis: int, source: Geometry, target: Geometry
) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32, Bool]:
    """Return, for each target pixel along an axis, two source pixels, a weight, and visibility.

    The weight is that of the second pixel; a target pixel is visible if `source` shows it.
    """
    shown, wanted = window_of(source)[axis], window_of(target)[axis]
    first, length = source.box[axis], source.box[axis + 2]
    pixels = np.arange(target.canvas) + 0.5 - target.box[axis]
    at = wanted.start + pixels * (wanted.stop - wanted.start) / target.box[axis + 2]
    visible = (at >= shown.start) & (at <= shown.stop)
    place = (at - shown.start) * length / (shown.stop - shown.start) - 0.5
    place = first + np.clip(place, 0, length - 1)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, first + length - 1)
    return low, high, (place - low).astype(np.float32), visible


def seen_box(
    box: tuple[float, float, float, float], geometry: Geometry
) -> tuple[float, float, float, float]:
    """Return a box on the content of a canvas in pixels of the image.

    Parameters
    ----------
    box
        ``(top, left, bottom, right)`` in pixels of the canvas, from the corner of its content.
    """
    window, (rows, columns) = window_of(geometry), geometry.box[2:]
    tall = (window[0].stop - window[0].start) / rows
    wide = (window[1].stop - window[1].start) / columns
    top, left = window[0].start + box[0] * tall, window[1].start + box[1] * wide
    bottom, right = window[0].start + box[2] * tall, window[1].start + box[3] * wide
    return top, left, bottom, right


def on_canvas(point: tuple[float, float], geometry: Geometry) -> tuple[float, float]:
    """Return a point ``(row, column)`` of the image in pixels of the canvas."""
    top, left, rows, columns = geometry.box
    window = window_of(geometry)
    height, width = (part.stop - part.start for part in window)
    return (
        top + (point[0] - window[0].start) * rows / height,
        left + (point[1] - window[1].start) * columns / width,
    )


def box_on_canvas(
    box: tuple[float, float, float, float], geometry: Geometry
) -> tuple[float, float, float, float]:
    """Return a box ``(top, left, bottom, right)`` of the image in pixels of the canvas."""
    return (*on_canvas(box[:2], geometry), *on_canvas(box[2:], geometry))


def window_of(geometry: Geometry) -> tuple[slice, slice]:
    """Return the rows and columns of the image that the canvas shows."""
    top, left, height, width = geometry.window or (0, 0, *geometry.shape)
    return slice(top, top + height), slice(left, left + width)


def window_to_canvas(
    rgb: Float32, size: int, window: tuple[int, int, int, int]
) -> tuple[Float32, Geometry]:
    """Resize part of an image onto the canvas, keeping its aspect ratio; return as `to_canvas`.

    Parameters
    ----------
    rgb
        ``(H, W, C)`` float32 in [0, 1], the whole image.
    size
        Side of the canvas in pixels.
    window
        ``(top, left, height, width)`` in pixels.
    """
    top, left, height, width = window
    part = rgb[top : top + height, left : left + width]
    canvas, geometry = to_canvas(part, size, "pad")
    shape = (rgb.shape[0], rgb.shape[1])
    return canvas, dataclasses.replace(geometry, shape=shape, window=window)


def _margins(geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, rows, columns = geometry.box
    side = geometry.canvas
    return (top, side - top - rows), (left, side - left - columns)


def _resize(values: NDArray[Any], shape: tuple[int, int]) -> Float32:
    """Resize ``(C, h, w)`` to ``(C, *shape)`` float32; a copy when nothing changes."""
    planes = np.array(values, dtype=np.float32, order="C")
    height, width = planes.shape[-2:]
    if (height, width) == shape:
        return planes
    resized = functional.interpolate(
        torch.from_numpy(planes)[None],
        size=shape,
        mode="bilinear",
        align_corners=False,
        # Costs time, and changes nothing when no side shrinks.
        antialias=shape[0] < height or shape[1] < width,
    )
    result: Float32 = resized[0].numpy()
    return result
