"""What the background job does for several objects of one plane that were pointed at."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import follow_until
from napari_latentfm.background.job import (
    Outcome,
    Request,
    Result,
    Update,
    step_update,
    summary_updates,
)
from napari_latentfm.layers.planes import Plane, read_plane

if TYPE_CHECKING:
    from napari.layers import Image

    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prompts import Prompt
    from latentfm_core.types import Mask, SampleSet


@dataclass(frozen=True)
class ObjectsRun(Result):
    """What a run over several objects returns: all of one of them, and of each what is kept.

    Attributes
    ----------
    objects
        Samples and mean mask ``(H, W)`` by label.
    """

    objects: Mapping[int, tuple[SampleSet, Mask]]


def objects_request(
    layer: Image,
    plane: Plane,
    model: str | Path,
    settings: SamplingConfig,
    prompts: Mapping[int, Prompt],
    shown: int,
) -> Request:
    """Return what to ask of the job.

    Parameters
    ----------
    layer, plane
        What to segment.
    model, settings
        How.
    prompts
        Which objects are meant, by label.
    shown
        The label of which the whole result is wanted.
    """
    read = partial(read_plane, layer, plane)
    work = partial(_draw, layer, plane, settings, dict(prompts), shown)
    return Request(read, model, settings, work=work)


def _draw(
    layer: Image,
    plane: Plane,
    settings: SamplingConfig,
    prompts: dict[int, Prompt],
    shown: int,
    segmenter: Segmenter,
    stop: threading.Event,
) -> Generator[Update, None, Outcome]:
    yield Update("Reading image…")
    image = read_plane(layer, plane)
    steps = segmenter.sample_objects_steps(image, list(prompts.values()), settings)
    drawn = yield from follow_until(stop, steps, step_update)
    if drawn is None:
        return Outcome()
    whole: Result | None = None
    kept: dict[int, tuple[SampleSet, Mask]] = {}
    for label, samples in zip(prompts, drawn, strict=True):
        used = SamplingConfig(**samples.settings)
        summary = yield from summary_updates(samples, segmenter, used, stop)
        if summary is None:
            return Outcome()
        kept[label] = samples, summary.mean_mask
        if label == shown:
            whole = Result(samples, summary, segmenter.device_label)
    if whole is None:
        return Outcome()
    return Outcome(ObjectsRun(whole.samples, whole.summary, whole.device, kept))
