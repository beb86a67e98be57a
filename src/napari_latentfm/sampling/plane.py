"""Sampling targets: one plane of an image layer, and several objects of one plane."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import follow_until
from napari_latentfm.background.image_request import (
    ImageRequest,
    Result,
    step_update,
    summary_updates,
)
from napari_latentfm.background.job import JobRequest, Outcome, Update, WorkRequest
from napari_latentfm.layers.camera import bringing_into_view, keeping_view
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.pixels import plane_spacing, read_plane
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.specs import Role
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.results.objects import ObjectsRun
from napari_latentfm.results.session import Reviewed, session_of
from napari_latentfm.results.show import show_plane_steps, show_result_steps
from napari_latentfm.sampling.review_target import ReviewTarget

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prompts import Prompt
    from latentfm_core.types import Mask, SampleSet


@dataclass(frozen=True)
class Place:
    """The plane on which an object is segmented.

    Attributes
    ----------
    label
        Label with which the object is written into the annotation; None for that of its class.
    """

    layer: Image
    plane: Plane
    label: int | None = None


@dataclass(frozen=True)
class PlaneTarget(ReviewTarget[Result]):
    """One plane of an image layer.

    Attributes
    ----------
    label
        Label with which the object is written into the annotation; None for that of its class.
    prompt
        The object to segment, in pixels of the plane; None for the whole plane.
    samples
        Earlier samples, to be summarised again; then nothing is sampled.
    roles
        The layers to write; None for all.
    keeps_view
        Whether camera and active layer stay as they are when the result is shown.
    """

    layer: Image
    plane: Plane
    model: str | Path
    label: int | None = None
    prompt: Prompt | None = None
    samples: SampleSet | None = None
    roles: Collection[Role] | None = None
    keeps_view: bool = False

    @classmethod
    def at(cls, place: Place, model: str | Path, **options: Any) -> Self:
        """Return a target whose result leaves camera and active layer as they are."""
        return cls(place.layer, place.plane, model, place.label, keeps_view=True, **options)

    def request(self, settings: SamplingConfig) -> JobRequest[Result]:
        """Return the request for the background job."""
        spacing, _ = plane_spacing(self.layer, self.plane)
        read = partial(read_plane, self.layer, self.plane)
        request = ImageRequest(read, self.model, settings, self.samples, spacing=spacing)
        if self.prompt is None:
            return request
        # Strokes are a separate argument, which is recorded in the provenance.
        rest = replace(self.prompt, strokes=None)
        return replace(request, prompt=rest, strokes=self.prompt.strokes)

    def show(
        self, viewer: napari.viewer.Viewer, result: Result, ask: AskAboutEdits
    ) -> Generator[None, None, bool]:
        """Show the result and put it under review."""
        reviewed = Reviewed(self.layer, self.plane, self.model, result, self.label)
        with ExitStack() as kept:
            if self.keeps_view:
                kept.enter_context(keeping_active(viewer))
                kept.enter_context(keeping_view(viewer))
            else:
                kept.enter_context(bringing_into_view(viewer, self.layer))
            stack = session_of(viewer).stack
            # A correction of an object that was followed through a stack belongs to its layers.
            is_part = stack is not None and self.label is not None and stack.label == self.label
            show = show_result_steps if is_part else show_plane_steps
            return (yield from show(viewer, reviewed, ask, self.roles))


@dataclass(frozen=True)
class ObjectsTarget(PlaneTarget):
    """Several objects of one plane, sampled in shared batches.

    One of them is shown; see `ObjectsRun` for the results of the others.
    """

    prompts: Mapping[int, Prompt] = field(default_factory=dict)

    @property
    def shown(self) -> int:
        """Label of the object whose result is shown."""
        return min(self.prompts) if self.label is None else self.label

    def request(self, settings: SamplingConfig) -> JobRequest[Result]:
        """Return the request for the background job."""
        draw = partial(_draw_objects, self, dict(self.prompts), settings)
        return WorkRequest(self.model, settings, draw)


def _draw_objects(
    target: ObjectsTarget,
    prompts: dict[int, Prompt],
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome[Result]]:
    yield Update("Reading image…")
    image = read_plane(target.layer, target.plane)
    steps = segmenter.sample_objects_steps(image, list(prompts.values()), settings)
    drawn = yield from follow_until(stop, steps, step_update)
    if drawn is None:
        return Outcome()
    shown: Result | None = None
    kept: dict[int, tuple[SampleSet, Mask]] = {}
    for label, samples in zip(prompts, drawn, strict=True):
        used = SamplingConfig(**samples.settings)
        summary = yield from summary_updates(samples, segmenter, used, stop)
        if summary is None:
            return Outcome()
        kept[label] = samples, summary.mean_mask
        if label == target.shown:
            shown = Result(samples, summary, segmenter.device_label)
    if shown is None:
        return Outcome()
    return Outcome(ObjectsRun(shown.samples, shown.summary, shown.device, kept))
