"""Sampling target: the image under review, sampled again with strokes that the samples follow."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.names import counted
from napari_latentfm.background.image_request import ImageRequest, Result
from napari_latentfm.background.job import JobRequest
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.layers.pixels import plane_spacing, read_plane
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.results.session import Reviewed, ReviewSession, session_of
from napari_latentfm.results.show import show_result_steps
from napari_latentfm.sampling.review_target import ReviewTarget
from napari_latentfm.sampling.status import describe_mask, foreground

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

READY = "Mark pixels that are certainly {} or certainly not; the samples follow."


@dataclass(frozen=True)
class RedrawTarget(ReviewTarget[Result]):
    """The plane under review and its strokes.

    Attributes
    ----------
    reviewed
        What is under review; a result is dropped if that has changed meanwhile.
    strokes
        ``(H, W)``; without strokes the samples are those of the model alone.
    """

    reviewed: Reviewed
    strokes: NDArray[np.uint8] | None

    @property
    def layer(self) -> Image:
        """The image layer."""
        return self.reviewed.layer

    @property
    def model(self) -> str | Path:
        """Name of a bundled model, or a model folder."""
        return self.reviewed.model

    def request(self, settings: SamplingConfig) -> JobRequest[Result]:
        """Return the request for the background job."""
        layer, plane = self.layer, self.reviewed.plane
        spacing, _ = plane_spacing(layer, plane)
        read = partial(read_plane, layer, plane)
        return ImageRequest(read, self.model, settings, strokes=self.strokes, spacing=spacing)

    def show(
        self, viewer: napari.viewer.Viewer, result: Result, ask: AskAboutEdits
    ) -> Generator[None, None, bool | None]:
        """Show the result in the layers under review; the brush stays active."""
        if session_of(viewer).current is not self.reviewed:
            return None
        with keeping_active(viewer):
            return (
                yield from show_result_steps(viewer, replace(self.reviewed, result=result), ask)
            )

    def status(self, session: ReviewSession, _result: Result) -> str:
        """Return a description of the samples and the strokes that they follow."""
        return "" if session.current is None else describe(session.current)


def describe(reviewed: Reviewed) -> str:
    """Return the status of the samples under review and their strokes."""
    samples = reviewed.result.samples
    if samples.strokes is None:
        return READY.format(foreground(samples.classes))
    pixels = int(np.count_nonzero(samples.strokes))
    mask = describe_mask(reviewed.layer, reviewed.plane, reviewed.result)
    return (
        f"{counted(len(samples), 'sample agrees', 'samples agree')} with {pixels:,} painted "
        f"pixels, in {samples.seconds:.1f} s. {mask} Clear the strokes, or undo them, to go back."
    )
