"""Sampling target: all planes of a stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import follow_until
from napari_latentfm.background.image_request import check_same_model
from napari_latentfm.background.job import JobRequest, Outcome, Update, WorkRequest
from napari_latentfm.layers.camera import bringing_into_view, keeping_view
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.specs import Role
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.layers.stacks import PlaneStack, read_part
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import place_result_steps
from napari_latentfm.results.stack_review import StackReview, StackRun
from napari_latentfm.sampling.review_target import ReviewTarget

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.inference.stack import StackProgress, StackResult
    from latentfm_core.types import SampleSet


@dataclass(frozen=True)
class StackTarget(ReviewTarget[StackRun]):
    """All planes of a stack along one or more axes.

    Attributes
    ----------
    drawn
        Earlier samples of the planes, None for those without any, to be summarised with other
        settings, each with its own threshold; then nothing is sampled.
    roles
        The layers to write; None for all.
    label
        Label of the object that was followed through the planes; None for the model's classes.
    """

    layer: Image
    planes: PlaneStack
    model: str | Path
    drawn: Sequence[SampleSet | None] = ()
    roles: Collection[Role] | None = None
    label: int | None = None

    def request(self, settings: SamplingConfig) -> JobRequest[StackRun]:
        """Return the request for the background job."""
        if not self.drawn:
            draw = partial(_draw, self.layer, self.planes, settings)
            return WorkRequest(self.model, settings, draw)
        own = settings.model_copy(update={"threshold": None})
        return WorkRequest(self.model, settings, partial(_summarise, self, own))

    def show(
        self, viewer: napari.viewer.Viewer, run: StackRun, ask: AskAboutEdits
    ) -> Generator[None, None, bool]:
        """Show the results, and review the plane that the slider shows."""
        layer, planes = self.layer, self.planes
        with ExitStack() as kept:
            if self.label is not None:
                kept.enter_context(keeping_active(viewer))
                kept.enter_context(keeping_view(viewer))
            else:
                kept.enter_context(bringing_into_view(viewer, layer))
            if not (yield from place_result_steps(viewer, layer, planes, run, ask, self.roles)):
                return False
        session_of(viewer).follow(StackReview(viewer, layer, planes, self.model, run, self.label))
        return True


def _draw(
    layer: Image,
    planes: PlaneStack,
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome[StackRun]]:
    from latentfm_core.inference.stack import stack_steps

    yield Update("Reading image…")
    steps = stack_steps(segmenter, len(planes), partial(read_part, layer, planes), settings)
    return (yield from _follow(steps, _step_text, segmenter, stop))


def _summarise(
    target: StackTarget, settings: SamplingConfig, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome[StackRun]]:
    from latentfm_core.inference.stack import summarise_stack

    for samples in target.drawn:
        if samples is not None:
            check_same_model(samples, segmenter)
    steps = summarise_stack(segmenter, target.drawn, settings)
    outcome = yield from _follow(steps, _summary_text, segmenter, stop)
    if outcome.result is None or target.label is None:
        return outcome
    # Planes on which an object was not found are not blank.
    run = replace(outcome.result, stack=replace(outcome.result.stack, blank=()))
    return Outcome(run)


def _follow(
    steps: Generator[StackProgress, None, StackResult],
    text: Callable[[StackProgress], str],
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome[StackRun]]:
    stack = yield from follow_until(
        stop, steps, lambda step: Update(text(step), step.done, step.total)
    )
    if stack is None:
        return Outcome()
    run = StackRun(stack.first, stack.summary, segmenter.device_label, stack)
    yield Update(f"Measuring the mean mask of {len(run.plane_pixels)} planes…")
    return Outcome(run)


def _step_text(step: StackProgress) -> str:
    return f"{_plane_text(step)}, sampling step {step.done} of {step.total}"


def _summary_text(step: StackProgress) -> str:
    return f"{_plane_text(step)}, summarising"


def _plane_text(step: StackProgress) -> str:
    """Return the plane as napari's slider numbers it, from 0, and how many were begun."""
    return f"Plane {step.plane} ({step.plane + 1} of {step.planes})"
