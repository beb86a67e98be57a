"""Sampling target: a whole plane of any size, in overlapping tiles."""

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
from latentfm_core.names import counted
from latentfm_core.progress import follow_until
from latentfm_core.types import is_out_of_domain
from napari_latentfm.background.job import JobRequest, Outcome, Update, WorkRequest
from napari_latentfm.layers.camera import keeping_view
from napari_latentfm.layers.crop import PlaneCrop, crop_placement
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.pixels import known_spacing
from napari_latentfm.layers.placement import with_leading_axis
from napari_latentfm.layers.planes import Plane, level_index
from napari_latentfm.layers.pyramid import levels_of
from napari_latentfm.layers.specs import METADATA_KEY, TITLES
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.sampling.status import UNLIKE

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from latentfm_core.images.large import LargeImage
    from latentfm_core.inference.batches import Progress
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prediction.large import LargeResult
    from napari_latentfm.layers.zarr import StoredMap

_NOT_IN_FILE_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


@dataclass(frozen=True)
class TiledTarget:
    """One plane of an image layer, segmented in tiles; the maps are written to disk.

    Attributes
    ----------
    folder
        Folder for results; each gets its own name in it.
    """

    layer: Image
    plane: Plane
    model: str | Path
    tiling: TilingConfig
    folder: Path

    def request(self, settings: SamplingConfig) -> JobRequest[LargeResult]:
        """Return the request for the background job."""
        return WorkRequest(self.model, settings, partial(_draw, self, settings))

    def show(
        self, viewer: napari.viewer.Viewer, result: LargeResult, _ask: AskAboutEdits
    ) -> Generator[None, None, bool]:
        """Add the maps, read from disk, as layers aligned with their image."""
        from napari_latentfm.layers.zarr import stored_maps

        layers = [self._layer(result, stored) for stored in stored_maps(result.folder)]
        # Nothing can be cancelled once the first layer is added.
        yield
        with keeping_view(viewer):
            for layer in layers:
                viewer.add_layer(layer)
        return True

    def status(self, _session: ReviewSession, result: LargeResult) -> str:
        """Return a description of the result, and where it was written."""
        drawn, record = result.drawn, result.drawn.record
        first = f"⚠ {UNLIKE} " if is_out_of_domain(drawn.domain_score) else ""
        return (
            f"{first}{counted(drawn.tiles, 'tile')}, {counted(len(record.seeds), 'sample')} in "
            f"{record.seconds:.0f} s, seed {record.seeds[0]}, {record.model_id}. Written to "
            f"{result.folder}."
        )

    def device(self, _result: LargeResult) -> str:
        """Return ""; the result does not record its device."""
        return ""

    def _layer(self, written: LargeResult, stored: StoredMap) -> Layer:
        height, width = stored.levels[0].shape[-2:]
        factor = self.plane.shape[0] / height, self.plane.shape[1] / width
        crop = PlaneCrop(self.plane, 0, (0, 0), (height, width), factor)
        space = crop_placement(self.layer, crop)
        for name in stored.leading:
            space = with_leading_axis(space, name)
        data = [self.plane.embed(level) for level in stored.levels]
        # A layer without an id is never overwritten: each result in tiles has its own layers.
        facts = {"role": stored.role, "source": self.layer.name, "layer_id": None}
        options = {
            "name": f"{written.folder.stem} · {TITLES[stored.role]}",
            "metadata": {METADATA_KEY: facts},
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


def results_folder(text: str) -> Path:
    """Return the folder for results that was entered.

    Raises
    ------
    OutputError
        If it is empty or not a folder.
    """
    if not text.strip():
        raise OutputError(
            "Choose a folder for the results: the maps of a large image are written to disk as "
            "they are computed."
        )
    if not Path(text.strip()).is_dir():
        raise OutputError(f"There is no folder {text.strip()}. Choose another one for the results.")
    return Path(text.strip())


class PlaneOfLevel:
    """One plane of a level of a layer's pyramid; only the indexed part is read.

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

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        index = level_index(self._plane, self._level.shape)
        for axis, pixels in zip(self._plane.axes, window, strict=True):
            index[axis] = pixels
        return np.asarray(self._level[tuple(index)])


def large_plane(layer: Image, plane: Plane) -> LargeImage:
    """Return a plane of a layer as an image that is read part by part."""
    from latentfm_core.images.large import large_image

    spacing, unit = known_spacing(layer, plane)
    levels = [PlaneOfLevel(level, plane) for level in levels_of(layer)]
    return large_image(levels, spacing, unit, layer.name)


def unused_path(folder: Path, name: str) -> Path:
    """Return a path in `folder` for a result; neither it nor its sidecar exists."""
    stem = _NOT_IN_FILE_NAMES.sub("_", name).strip(" .") or "image"
    for n in range(1, 10_000):
        path = folder / f"{stem if n == 1 else f'{stem}-{n}'}.zarr"
        if not path.exists() and not path.with_suffix(".json").exists():
            return path
    raise OutputError(f"{folder} has too many results of {name!r}. Choose another folder.")


def _draw(
    target: TiledTarget, settings: SamplingConfig, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome[LargeResult]]:
    from latentfm_core.prediction.large import large_steps, write_sidecar

    yield Update("Reading image…")
    start = time.perf_counter()
    image = large_plane(target.layer, target.plane)
    path = unused_path(target.folder, f"{target.layer.name}{target.plane.label()}")
    steps = large_steps(segmenter, image, path, settings, target.tiling)
    result = yield from follow_until(
        stop, steps, lambda step: _update(step, time.perf_counter() - start)
    )
    if result is None:
        return Outcome()
    seconds = time.perf_counter() - start
    write_sidecar(path.with_suffix(".json"), image, result, segmenter, target.tiling, seconds)
    return Outcome(result)


def _update(step: Progress, seconds: float) -> Update:
    left = seconds * (step.total - step.done) / max(1, step.done)
    if step.done == step.total:
        text = "Writing…"
    elif left < 90:
        text = f"{step.done / step.total:.0%} of the tiles, {left:.0f} s left."
    else:
        text = f"{step.done / step.total:.0%} of the tiles, {left / 60:.0f} min left."
    return Update(f"{text} {step.note}".strip(), step.done, step.total)
