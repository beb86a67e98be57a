"""The interface for what the sampling panel segments."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from latentfm_core.config import SamplingConfig
from napari_latentfm.background.job import JobRequest
from napari_latentfm.layers.edits import AskAboutEdits

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_latentfm.results.session import ReviewSession

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

    def device(self, result: R) -> str:
        """Return the device that drew a result, "" if it is not known."""
