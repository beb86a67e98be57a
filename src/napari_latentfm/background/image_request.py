"""Requests to draw samples of one image, or to summarise earlier samples again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ModelFolderError
from latentfm_core.progress import follow_until
from latentfm_core.prompts import recorded_group
from latentfm_core.types import ImageInput, SampleSet, Summary
from latentfm_core.uncertainty.figures import MaskFigures, mask_figures
from napari_latentfm.background.job import Outcome, Update

if TYPE_CHECKING:
    from latentfm_core.inference.batches import Progress
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prompts import Prompt


@dataclass(frozen=True)
class Result:
    """Samples of an image and their summary."""

    samples: SampleSet
    summary: Summary
    device: str
    _figures: dict[tuple[float, float], MaskFigures] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def figures(self, spacing: tuple[float, float]) -> MaskFigures:
        """Return the figures of the mean mask of one plane, measured at the first call.

        Several panels show them. A job measures them in its worker thread: that takes long on a
        large image.
        """
        if spacing not in self._figures:
            self._figures[spacing] = mask_figures(self.summary, spacing)
        return self._figures[spacing]


@dataclass(frozen=True)
class ImageRequest:
    """A request to draw samples of one image.

    Attributes
    ----------
    read
        Returns the image; called in the worker thread, since it may load a lazy array.
    samples
        Earlier samples of this model, to be summarised with these settings; then the image is
        not read and nothing is sampled.
    strokes
        ``(H, W)``, pixels that the samples must agree with, see `Segmenter.sample_steps`.
    prompt
        The object to segment, in pixels of the image; for a model that takes prompts.
    spacing
        Pixel size ``(row, column)`` with which the worker measures the mean mask for the panels;
        None for that of the image.
    """

    read: Callable[[], ImageInput]
    model: str | Path
    settings: SamplingConfig
    samples: SampleSet | None = None
    strokes: NDArray[np.uint8] | None = None
    prompt: Prompt | None = None
    spacing: tuple[float, float] | None = None

    def work(
        self, segmenter: Segmenter, stop: threading.Event
    ) -> Generator[Update, None, Outcome[Result]]:
        """Draw and summarise the samples; see `JobRequest.work`."""
        if self.samples is not None:
            return (yield from self._summarise_again(self.samples, segmenter, stop))
        yield Update("Reading image…")
        image = self.read()
        steps = segmenter.sample_steps(image, self.settings, self.strokes, prompt=self.prompt)
        samples = yield from follow_until(stop, steps, step_update)
        if samples is None:
            return Outcome()
        spacing = self.spacing or image.spacing or (1.0, 1.0)
        return (yield from self._summarise(samples, segmenter, stop, spacing))

    def _summarise_again(
        self, samples: SampleSet, segmenter: Segmenter, stop: threading.Event
    ) -> Generator[Update, None, Outcome[Result]]:
        check_same_model(samples, segmenter)
        group = recorded_group(samples.prompt)
        used = segmenter.resolved(self.settings, group).model_dump(mode="json")
        same = samples.with_settings(used)
        return (yield from self._summarise(same, segmenter, stop, self.spacing))

    def _summarise(
        self,
        samples: SampleSet,
        segmenter: Segmenter,
        stop: threading.Event,
        spacing: tuple[float, float] | None,
    ) -> Generator[Update, None, Outcome[Result]]:
        summary = yield from summary_updates(samples, segmenter, self.settings, stop)
        if summary is None:
            return Outcome()
        result = Result(samples, summary, segmenter.device_label)
        if spacing is not None:
            yield Update("Measuring the mean mask…")
            result.figures(spacing)
        return Outcome(result)


def check_same_model(samples: SampleSet, segmenter: Segmenter) -> None:
    """Raise `ModelFolderError` if samples were not drawn with the weights of a model."""
    if samples.record.model_hash != segmenter.card.weights_sha256:
        raise ModelFolderError("The model was changed since these samples were drawn. Run again.")


def step_update(step: Progress) -> Update:
    """Return the progress after an ODE step."""
    text = f"Sampling, step {step.done} of {step.total}"
    return Update(f"{text}. {step.note}" if step.note else text, step.done, step.total)


def summary_updates(
    samples: SampleSet, segmenter: Segmenter, settings: SamplingConfig, stop: threading.Event
) -> Generator[Update, None, Summary | None]:
    """Summarise samples as part of a request's work; returns None if it was cancelled."""
    yield Update("Summarising…")
    steps = segmenter.summary_steps(samples, settings)
    return (yield from follow_until(stop, steps, _summary_update))


def _summary_update(step: Progress) -> Update:
    text = f"Summarising: sample {step.done} of {step.total} resized to the image"
    return Update(text, step.done, step.total)
