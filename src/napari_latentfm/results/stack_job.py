"""What the background job does for a plane, or for all planes of a stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ModelFolderError
from latentfm_core.progress import follow_until
from napari_latentfm.background.job import Outcome, Request, Result, Update
from napari_latentfm.layers.planes import Plane, plane_spacing, read_plane
from napari_latentfm.layers.stacks import PlaneStack, read_part

if TYPE_CHECKING:
    from napari.layers import Image

    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.inference.stack import StackProgress, StackResult


@dataclass(frozen=True)
class StackRun(Result):
    """What a run over a stack returns.

    `samples` are those of its first plane, with the seconds of all, and `summary` has an axis
    for the planes before ``(H, W)``.

    Attributes
    ----------
    stack
        Samples and maps of each plane.
    """

    stack: StackResult


def request_for(
    layer: Image,
    plane: Plane | PlaneStack,
    model: str | Path,
    settings: SamplingConfig,
    last: Result | None = None,
) -> Request:
    """Return what to ask of the job.

    Parameters
    ----------
    layer, plane
        What to segment.
    model, settings
        How.
    last
        A result of the same, to be summarised anew with these settings; then nothing is drawn.
    """
    if isinstance(plane, Plane):
        samples = None if last is None else last.samples
        spacing, _ = plane_spacing(layer, plane)
        return Request(partial(read_plane, layer, plane), model, settings, samples, spacing=spacing)
    work = partial(_draw, layer, plane, settings)
    if isinstance(last, StackRun):
        work = partial(_summarise, last, settings)
    return Request(partial(read_part, layer, plane, 0), model, settings, work=work)


def _draw(
    layer: Image,
    planes: PlaneStack,
    settings: SamplingConfig,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome]:
    from latentfm_core.inference.stack import stack_steps

    yield Update("Reading image…")
    steps = stack_steps(segmenter, len(planes), partial(read_part, layer, planes), settings)
    return (yield from _follow(steps, _step_text, segmenter, stop))


def _summarise(
    last: StackRun, settings: SamplingConfig, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome]:
    from latentfm_core.inference.stack import summarise_stack

    if last.samples.record.model_hash != segmenter.card.weights_sha256:
        raise ModelFolderError("The model was changed since these samples were drawn. Run again.")
    steps = summarise_stack(segmenter, last.stack.samples, settings)
    return (yield from _follow(steps, _summary_text, segmenter, stop))


def _follow(
    steps: Generator[StackProgress, None, StackResult],
    text: Callable[[StackProgress], str],
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome]:
    stack = yield from follow_until(
        stop, steps, lambda step: Update(text(step), step.done, step.total)
    )
    if stack is None:
        return Outcome()
    return Outcome(StackRun(stack.first, stack.summary, segmenter.device_label, stack))


def _step_text(step: StackProgress) -> str:
    return f"Plane {step.plane} of {step.planes}, ODE step {step.done} of {step.total}"


def _summary_text(step: StackProgress) -> str:
    return f"Summarising plane {step.plane} of {step.planes}"
