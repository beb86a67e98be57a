"""All of a large image, tile by tile: what is asked of the job, and its result as layers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig, TilingConfig
from latentfm_core.errors import OutputError
from latentfm_core.progress import follow_until
from napari_latentfm.background.job import Outcome, Request, Update
from napari_latentfm.layers.planes import (
    Plane,
    displayed_plane,
    known_spacing,
    read_plane,
    with_leading_axis,
)
from napari_latentfm.layers.specs import METADATA_KEY, TITLES
from napari_latentfm.sampling.viewport import VisibleField, field_placement, keeping_view

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from latentfm_core.images.large import LargeImage
    from latentfm_core.inference.batches import Progress
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prediction.large import LargeResult
    from napari_latentfm.layers.zarr import StoredMap

_NO_FILE_NAME = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


@dataclass(frozen=True)
class TiledPlane:
    """One plane of an image layer, of any size, and how it is segmented.

    Attributes
    ----------
    plane
        The plane that is on screen.
    tiling
        Scale and overlap.
    folder
        Where the result goes; it gets a name of its own there.
    """

    plane: Plane
    tiling: TilingConfig
    folder: Path


def tiled_plane(
    viewer: napari.viewer.Viewer, layer: Image, tiling: TilingConfig, folder: str
) -> TiledPlane:
    """Return the plane on screen, to be segmented in tiles.

    Raises
    ------
    ImageError
        If no single plane is shown.
    OutputError
        If `folder` names no folder.
    """
    if not folder.strip():
        raise OutputError(
            "Choose a folder for the results: the maps of a large image are written to disk "
            "while they are made."
        )
    if not Path(folder.strip()).is_dir():
        raise OutputError(f"There is no folder {folder.strip()}. Choose another one for results.")
    plane = displayed_plane(layer, viewer.dims, limit=None)
    return TiledPlane(plane, tiling, Path(folder.strip()))


def tiled_request(
    layer: Image, tiled: TiledPlane, model: str | Path, settings: SamplingConfig
) -> Request:
    """Return what to ask of the job; its outcome is what was `written`."""
    read = partial(read_plane, layer, tiled.plane)
    return Request(read, model, settings, work=partial(_draw, layer, tiled, settings))


class PlaneOfLevel:
    """One level of a layer's pyramid, cut to a plane; a part is read when it is asked for.

    Parameters
    ----------
    level
        Array with the axes of the layer, and colours as its last one.
    plane
        The plane, in pixels of the finest level.
    """

    def __init__(self, level: Any, plane: Plane) -> None:
        self._level, self._plane = level, plane
        self.dtype = np.dtype(level.dtype)
        colours = level.shape[len(plane.index) :]
        self.shape = (*(level.shape[axis] for axis in plane.axes), *colours)

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[Any]:
        index: list[Any] = [
            # Levels may be smaller along other axes too.
            None if at is None else at * self._level.shape[axis] // self._plane.layer_shape[axis]
            for axis, at in enumerate(self._plane.index)
        ]
        for axis, pixels in zip(self._plane.axes, part, strict=True):
            index[axis] = pixels
        return np.asarray(self._level[tuple(index)])


def large_plane(layer: Image, plane: Plane) -> LargeImage:
    """Return a plane of a layer as an image that is read by parts."""
    from latentfm_core.images.large import large_image

    levels = list(layer.data) if layer.multiscale else [layer.data]
    spacing, unit = known_spacing(layer, plane)
    return large_image([PlaneOfLevel(v, plane) for v in levels], spacing, unit, layer.name)


def free_place(folder: Path, name: str) -> Path:
    """Return a path in `folder` for a result, at which nothing is, nor the file beside it."""
    stem = _NO_FILE_NAME.sub("_", name).strip(" .") or "image"
    tries = (stem if n == 1 else f"{stem}-{n}" for n in range(1, 10_000))
    for each in tries:
        path = folder / f"{each}.zarr"
        if not path.exists() and not path.with_suffix(".json").exists():
            return path
    raise OutputError(f"{folder} is full of results of {name!r}. Choose another folder.")


def _draw(
    layer: Image,
    tiled: TiledPlane,
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome]:
    from latentfm_core.prediction.large import large_steps, write_sidecar

    yield Update("Looking at the image…")
    start = time.perf_counter()
    image = large_plane(layer, tiled.plane)
    place = free_place(tiled.folder, f"{layer.name}{tiled.plane.label()}")
    steps = large_steps(segmenter, image, place, settings, tiled.tiling)
    result = yield from follow_until(
        stop, steps, lambda step: _update(step, time.perf_counter() - start)
    )
    if result is None:
        return Outcome()
    seconds = time.perf_counter() - start
    write_sidecar(place.with_suffix(".json"), image, result, segmenter, tiled.tiling, seconds)
    return Outcome(written=result)


def _update(step: Progress, seconds: float) -> Update:
    left = seconds * (step.total - step.done) / max(1, step.done)
    if step.done == step.total:
        text = "Writing…"
    elif left < 90:
        text = f"{step.done / step.total:.0%} of the tiles, {left:.0f} s left."
    else:
        text = f"{step.done / step.total:.0%} of the tiles, {left / 60:.0f} min left."
    return Update(f"{text} {step.note}".strip(), step.done, step.total)


def show_tiles(
    viewer: napari.viewer.Viewer, source: Image, tiled: TiledPlane, written: LargeResult
) -> None:
    """Add the maps of a result as layers that lie on their image and are read from disk."""
    from napari_latentfm.layers.zarr import stored_maps

    layers = [
        _layer(source, tiled.plane, written, stored) for stored in stored_maps(written.folder)
    ]
    with keeping_view(viewer):
        for layer in layers:
            viewer.add_layer(layer)


def _layer(source: Image, plane: Plane, written: LargeResult, stored: StoredMap) -> Layer:
    height, width = stored.levels[0].shape[-2:]
    factor = plane.shape[0] / height, plane.shape[1] / width
    space = field_placement(source, VisibleField(plane, 0, (0, 0), (height, width), factor))
    for name in stored.leading:
        space = with_leading_axis(space, name)
    data = [plane.embed(level) for level in stored.levels]
    options = {
        "name": f"{written.folder.stem} · {TITLES[stored.role]}",
        # No later run writes into it: every result in tiles has layers and a folder of its own.
        "metadata": {METADATA_KEY: {"role": stored.role, "source": source.name, "layer_id": None}},
        **space,
        **stored.look,
    }
    pixels = data if len(data) > 1 else data[0]
    if stored.kind == "image":
        return Image(pixels, **options)
    contour = options.pop("contour")
    labels = Labels(pixels, **options)
    labels.contour = contour
    return labels
