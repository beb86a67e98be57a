"""Sampling target: one object, followed from a plane through the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import follow_until
from napari_latentfm.background.image_request import check_same_model
from napari_latentfm.background.job import JobRequest, Outcome, Update, WorkRequest
from napari_latentfm.layers.camera import keeping_view
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.layers.stacks import PlaneStack, read_part
from napari_latentfm.layers.superseded import remove_plane_results
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import place_result_steps
from napari_latentfm.results.stack_review import StackReview, StackRun
from napari_latentfm.sampling.review_target import ReviewTarget

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from latentfm_core.inference.following import Followed, FollowProgress, KnownPlane
    from latentfm_core.inference.segmenter import Segmenter


@dataclass(frozen=True)
class FollowRun(StackRun):
    """The result of a run that followed an object.

    Attributes
    ----------
    followed
        Planes where it was found, and planes where it was not.
    """

    followed: Followed


@dataclass(frozen=True)
class FollowTarget(ReviewTarget[FollowRun]):
    """An object, followed from one plane of a stack through the others.

    Attributes
    ----------
    start
        Number of the plane from which it is followed.
    known
        Planes that stay as they are, by number; with the plane `start` and its samples.
    found
        Called with the result before it is put under review.
    """

    layer: Image
    planes: PlaneStack
    model: str | Path
    label: int
    start: int
    known: Mapping[int, KnownPlane]
    found: Callable[[FollowRun], None]

    def request(self, settings: SamplingConfig) -> JobRequest[FollowRun]:
        """Return the request for the background job."""
        return WorkRequest(self.model, settings, partial(_draw, self, settings))

    def show(
        self, viewer: napari.viewer.Viewer, run: FollowRun, ask: AskAboutEdits
    ) -> Generator[None, None, bool]:
        """Show the object in the layers of the stack, and review the plane on screen."""
        layer, planes = self.layer, self.planes
        with ExitStack() as kept:
            kept.enter_context(keeping_active(viewer))
            kept.enter_context(keeping_view(viewer))
            if not (yield from place_result_steps(viewer, layer, planes, run, ask)):
                return False
            # Outlines of the same object twice would differ after a correction.
            remove_plane_results(viewer, layer, planes)
        self.found(run)
        review = StackReview(viewer, layer, planes, self.model, run, self.label)
        session_of(viewer).follow(review)
        return True


def _draw(
    target: FollowTarget,
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome[FollowRun]]:
    from latentfm_core.inference.following import follow_steps

    for plane in target.known.values():
        if plane.samples is not None:
            check_same_model(plane.samples, segmenter)
    yield Update("Reading image…")
    read = partial(read_part, target.layer, target.planes)
    count = len(target.planes)
    steps = follow_steps(segmenter, count, read, target.start, settings, known=target.known)
    followed = yield from follow_until(stop, steps, _step_update)
    if followed is None:
        return Outcome()
    stack = followed.stack
    device = segmenter.device_label
    run = FollowRun(followed.first, stack.summary, device, stack, followed)
    yield Update(f"Measuring the mean mask of {len(run.plane_pixels)} planes…")
    return Outcome(run)


def _step_update(step: FollowProgress) -> Update:
    where = f"Plane {step.plane} ({step.number} of {step.planes})"
    text = f"{where}, sampling step {step.done} of {step.total}"
    return Update(text, step.number - 1, step.planes)
