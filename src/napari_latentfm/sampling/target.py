"""The interface for what the sampling panel segments, and the target under review."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from latentfm_core.config import SamplingConfig
from napari_latentfm.background.image_request import Result
from napari_latentfm.background.job import JobRequest
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.specs import CALIBRATED_ROLES
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.sampling.plane import PlaneTarget
from napari_latentfm.sampling.stack import StackTarget

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

R = TypeVar("R")


class SamplingTarget(Protocol[R]):
    """A part of an image layer that is segmented in one run.

    A run sends `request` to the background job and passes the result to `show`. Implementations:
    `PlaneTarget`, `ObjectsTarget`, `StackTarget`, `FollowTarget`, `ViewportTarget`,
    `TiledTarget`, and `RedrawTarget` of the strokes.
    """

    @property
    def layer(self) -> Image:
        """The image layer."""

    @property
    def model(self) -> str | Path:
        """Name of a bundled model, or a model folder."""

    def request(self, settings: SamplingConfig) -> JobRequest[R]:
        """Return the request for the background job.

        Raises
        ------
        LatentFMError
            If the target cannot be segmented.
        """

    def show(
        self, viewer: napari.viewer.Viewer, result: R, ask: AskAboutEdits
    ) -> Generator[None, None, bool | None]:
        """Show a result in the viewer, one layer per step; closing it undoes the steps.

        Returns False if the user kept edited layers, and None if the result is no longer
        wanted; nothing was changed then.
        """

    def status(self, session: ReviewSession, result: R) -> str:
        """Return a description of a result that was shown."""

    def warning(self, result: R) -> str:
        """Return a warning if the image is unlike the training images, else ""."""

    def device(self, result: R) -> str:
        """Return the device that drew a result, "" if it is not known."""


def target_under_review(session: ReviewSession) -> tuple[PlaneTarget | StackTarget, Result] | None:
    """Return a target that summarises the samples under review again, and their result."""
    stack, last, roles = session.stack, session.current, CALIBRATED_ROLES
    if stack is not None:
        run = stack.run
        drawn = run.stack.samples
        return StackTarget(stack.layer, stack.planes, stack.model, drawn, roles, stack.label), run
    if last is None:
        return None
    samples = last.result.samples
    target = PlaneTarget(
        last.layer, last.plane, last.model, last.label, samples=samples, roles=roles
    )
    return target, last.result
