"""Sampling target: the part of a plane that is visible in the window."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import follow_until
from napari_latentfm.background.image_request import Result, step_update, summary_updates
from napari_latentfm.background.job import JobRequest, Outcome, Update, WorkRequest
from napari_latentfm.layers.camera import keeping_view
from napari_latentfm.layers.crop import PlaneCrop, crop_layer, read_crop
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.results.session import Reviewed
from napari_latentfm.results.show import show_plane_steps
from napari_latentfm.sampling.review_target import ReviewTarget

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from latentfm_core.inference.segmenter import Segmenter


@dataclass(frozen=True)
class CropRun(Result):
    """The result of a run over a crop.

    Attributes
    ----------
    pixels
        The crop, ``(H, W)`` or ``(H, W, C)``.
    """

    pixels: NDArray[Any]


@dataclass(frozen=True)
class ViewportTarget(ReviewTarget[CropRun]):
    """The current view of an image layer, which becomes a separate layer."""

    layer: Image
    crop: PlaneCrop
    model: str | Path

    def request(self, settings: SamplingConfig) -> JobRequest[CropRun]:
        """Return the request for the background job."""
        return WorkRequest(self.model, settings, partial(_draw, self, settings))

    def show(
        self, viewer: napari.viewer.Viewer, result: CropRun, ask: AskAboutEdits
    ) -> Generator[None, None, bool]:
        """Show the crop as a layer, and put its result under review."""
        crop = crop_layer(viewer, self.layer, self.crop, result.pixels)
        with keeping_view(viewer), crop as layer:
            reviewed = Reviewed(layer, self.crop.own_plane, self.model, result)
            return (yield from show_plane_steps(viewer, reviewed, ask))


def _draw(
    target: ViewportTarget, settings: SamplingConfig, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome[CropRun]]:
    yield Update("Reading the current view…")
    image = read_crop(target.layer, target.crop)
    steps = segmenter.sample_steps(image, settings)
    samples = yield from follow_until(stop, steps, step_update)
    if samples is None:
        return Outcome()
    summary = yield from summary_updates(samples, segmenter, settings, stop)
    if summary is None:
        return Outcome()
    return Outcome(CropRun(samples, summary, segmenter.device_label, image.pixels))
