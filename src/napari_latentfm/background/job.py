"""One background job per viewer: it loads a model, draws samples and summarises them.

Everything slow, PyTorch's import included, happens in the worker thread; every signal is
emitted in the GUI thread. A job ends in exactly one `Outcome`.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from latentfm_core.config import Precision, SamplingConfig
from latentfm_core.errors import LatentFMError, ModelFolderError, ResourceError
from latentfm_core.progress import follow_until
from latentfm_core.prompts import recorded_group
from latentfm_core.types import ImageInput, SampleSet, Summary
from latentfm_core.uncertainty.figures import MaskFigures, mask_figures
from napari_latentfm.background.signals import start_worker

if TYPE_CHECKING:
    from latentfm_core.inference.batches import Progress
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.prediction.large import LargeResult
    from latentfm_core.prompts import Prompt

logger = logging.getLogger(__name__)

Load = Callable[[str | Path, str, Precision], "Segmenter"]


@dataclass(frozen=True)
class Request:
    """What to draw.

    Attributes
    ----------
    read
        Returns the image; called in the worker thread, since it may load a lazy array.
    model
        Name of a bundled model, or a model folder.
    settings
        Sampling settings, device and precision included.
    samples
        Samples that this model drew before, to be summarised anew; then none are drawn and
        the image is not read.
    strokes
        ``(H, W)``, what the samples have to agree with, as `Segmenter.sample_steps` takes it.
    prompt
        Which object is meant, in pixels of the image; for a model that takes prompts.
    work
        Does something else with the model than to draw one image, see `Work`.
    spacing
        Pixel size ``(row, column)`` in which the panels tell the figures of the mean mask, so
        that the worker measures them; None takes that of the image.
    """

    read: Callable[[], ImageInput]
    model: str | Path
    settings: SamplingConfig
    samples: SampleSet | None = None
    strokes: NDArray[np.uint8] | None = None
    prompt: Prompt | None = None
    work: Work | None = None
    spacing: tuple[float, float] | None = None


@dataclass(frozen=True)
class Update:
    """What the job is doing; `done` of `total` ODE steps, or `total` 0 when that is open."""

    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Result:
    """What a run that was not cancelled returns."""

    samples: SampleSet
    summary: Summary
    device: str
    _figures: dict[tuple[float, float], MaskFigures] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def figures(self, spacing: tuple[float, float]) -> MaskFigures:
        """Return the figures of the mean mask of one plane, measured at the first call.

        Several panels tell them. A job measures them in its worker thread: that takes long on a
        large image.
        """
        if spacing not in self._figures:
            self._figures[spacing] = mask_figures(self.summary, spacing)
        return self._figures[spacing]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a result, with an error for the user, or (neither) cancelled.

    The result of an image in tiles does not fit into memory: it was `written` to disk.
    """

    result: Result | None = None
    error: LatentFMError | None = None
    written: LargeResult | None = None


Work = Callable[["Segmenter", threading.Event], Generator[Update, None, Outcome]]
"""Called in the worker thread; ends soon, with an empty outcome, after the event is set."""


def load_segmenter(source: str | Path, device: str, precision: Precision) -> Segmenter:
    """Load a model; PyTorch is imported here, at the first call, and not before.

    So is pandas, of which napari makes the table of each Labels layer: the GUI thread would need
    a quarter of a second for it when the first result is shown.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")
    from latentfm_core.inference.segmenter import Segmenter

    return Segmenter.load(source, device, precision)


class WarmModel:
    """Keeps the last model that was used, so that the next run starts at once."""

    def __init__(self) -> None:
        self._key: object = None
        self._segmenter: Segmenter | None = None

    def find(self, key: object) -> Segmenter | None:
        """Return the model if it is the one of `key`."""
        return self._segmenter if key == self._key else None

    def keep(self, key: object, segmenter: Segmenter | None) -> None:
        """Replace the model."""
        self._key, self._segmenter = key, segmenter

    def drop(self) -> bool:
        """Let go of the model, if there is one, and of what PyTorch keeps on its device."""
        segmenter = self._segmenter
        self.keep(None, None)
        if segmenter is None:
            return False
        from latentfm_core.inference.device import release_memory

        device = segmenter.device
        del segmenter
        release_memory(device)
        return True


class Run:
    """One run of a job, and the token by which its listeners know it.

    Signals are emitted in the GUI thread; `ended` comes exactly once.
    """

    progressed = Signal(Update)
    ended = Signal(Outcome)

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._outcome = Outcome()
        self.running = True

    def cancel(self) -> None:
        """Ask the run to stop; it does within one ODE step."""
        self._stop.set()

    def abandon(self) -> None:
        """Cancel, and tell nobody any more; for a listener that is about to vanish."""
        self.cancel()
        self.progressed.disconnect()
        self.ended.disconnect()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()

    def _receive(self, update: Update) -> None:
        if not self.cancelled:
            self.progressed.emit(update)

    def _returned(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def _finished(self) -> None:
        # `finished` also follows a worker that was told to quit, which returns nothing.
        self.running = False
        # The run outlives its end as a token; its result must not.
        outcome, self._outcome = self._outcome, Outcome()
        self.ended.emit(Outcome() if self.cancelled else outcome)
        # Qt's worker outlives its work, and with it what is connected here: layers, results.
        self.progressed.disconnect()
        self.ended.disconnect()


class SamplingJob:
    """Runs requests one at a time in a worker thread.

    Attributes
    ----------
    load
        Loads a model; may be replaced.
    """

    def __init__(self, load: Load = load_segmenter) -> None:
        self.load = load
        self._warm = WarmModel()
        self._run: Run | None = None

    @property
    def busy(self) -> bool:
        """Whether a run has not ended yet; a cancelled one may need one more ODE step."""
        return self._run is not None and self._run.running

    def start(self, request: Request) -> Run:
        """Start a run; connect to its signals before control returns to the event loop.

        Raises
        ------
        ResourceError
            If another run has not ended yet.
        """
        if self.busy:
            raise ResourceError("Another run has not ended yet. Wait for it, or cancel it first.")
        run = self._run = Run()
        arguments = (request, self.load, self._warm, run._stop)
        start_worker(
            run,
            _work,
            *arguments,
            told=run._receive,
            returned=run._returned,
            finished=run._finished,
        )
        return run

    def unload(self) -> bool:
        """Let go of the warm model and its memory; return whether there was one.

        Raises
        ------
        ResourceError
            If a run is using it.
        """
        if self.busy:
            raise ResourceError("A run is using the model. Cancel it, or wait for its end.")
        return self._warm.drop()

    def cancel(self) -> None:
        """Cancel the run, if there is one."""
        if self._run is not None:
            self._run.cancel()


_jobs: WeakKeyDictionary[Any, SamplingJob] = WeakKeyDictionary()


def job_of(viewer: Any) -> SamplingJob:
    """Return the job of a viewer; it lives as long as the viewer does."""
    # napari hands plugins a proxy of the viewer, and a new one each time.
    return _jobs.setdefault(getattr(viewer, "__wrapped__", viewer), SamplingJob())


def _work(
    request: Request, load: Load, warm: WarmModel, stop: threading.Event
) -> Generator[Update, None, Outcome]:
    """Do the work and never raise.

    The worker swallows a RuntimeError of its generator without a signal, and every error of
    PyTorch is one.
    """
    try:
        return (yield from _sample(request, load, warm, stop))
    except Exception as error:
        return Outcome(error=explain(error, request.settings))


def _sample(
    request: Request, load: Load, warm: WarmModel, stop: threading.Event
) -> Generator[Update, None, Outcome]:
    settings = request.settings
    key = _key(request.model, settings)
    segmenter = warm.find(key)
    if segmenter is None or not _computes_in(segmenter, settings.precision):
        yield Update("Loading model…")
        # Two models at once may not fit into the memory of a GPU.
        segmenter = None
        warm.keep(None, None)
        segmenter = load(request.model, settings.device, settings.precision)
        warm.keep(key, segmenter)
    if request.work is not None:
        return (yield from request.work(segmenter, stop))
    if request.samples is not None:
        return (yield from _summarise_again(request, request.samples, segmenter, stop))
    yield Update("Reading image…")
    image = request.read()
    steps = segmenter.sample_steps(image, settings, request.strokes, prompt=request.prompt)
    samples = yield from follow_until(stop, steps, step_update)
    if samples is None:
        return Outcome()
    sized = replace(request, spacing=request.spacing or image.spacing or (1.0, 1.0))
    return (yield from _summarise(sized, samples, segmenter, stop))


def step_update(step: Progress) -> Update:
    """Return what the panel says after an ODE step."""
    text = f"ODE step {step.done} of {step.total}"
    return Update(f"{text}. {step.note}" if step.note else text, step.done, step.total)


def _summarise(
    request: Request, samples: SampleSet, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome]:
    summary = yield from summary_updates(samples, segmenter, request.settings, stop)
    if summary is None:
        return Outcome()
    result = Result(samples, summary, segmenter.device_label)
    if request.spacing is not None:
        yield Update("Measuring the mean mask…")
        result.figures(request.spacing)
    return Outcome(result)


def summary_updates(
    samples: SampleSet, segmenter: Segmenter, settings: SamplingConfig, stop: threading.Event
) -> Generator[Update, None, Summary | None]:
    """Summarise samples, for a job's work; None if it was cancelled meanwhile."""
    yield Update("Summarising…")
    steps = segmenter.summary_steps(samples, settings)
    return (yield from follow_until(stop, steps, _summary_update))


def _summary_update(step: Progress) -> Update:
    text = f"Summarising: sample {step.done} of {step.total} resized to the image"
    return Update(text, step.done, step.total)


def _summarise_again(
    request: Request, samples: SampleSet, segmenter: Segmenter, stop: threading.Event
) -> Generator[Update, None, Outcome]:
    if samples.record.model_hash != segmenter.card.weights_sha256:
        raise ModelFolderError("The model was changed since these samples were drawn. Run again.")
    group = recorded_group(samples.prompt)
    used = segmenter.resolved(request.settings, group).model_dump(mode="json")
    return (yield from _summarise(request, samples.with_settings(used), segmenter, stop))


def _key(model: str | Path, settings: SamplingConfig) -> object:
    """Return what a warm model must agree in; a folder that was written anew is another."""
    try:
        stamps = [file.stat().st_mtime_ns for file in sorted(Path(model).glob("model.*"))]
    except OSError:
        # Loading the model tells the user what is wrong with the folder.
        stamps = []
    return (str(model), tuple(stamps), settings.device)


def _computes_in(segmenter: Segmenter, precision: Precision) -> bool:
    """Return whether a warm model has this precision; ``"auto"`` is one on each device."""
    from latentfm_core.inference.device import precision_of, resolve_precision

    return precision_of(resolve_precision(precision, segmenter.device)) == segmenter.precision


def explain(error: Exception, settings: SamplingConfig) -> LatentFMError:
    """Turn any error of a run into one whose message is meant for the user.

    What is no fault of the user is logged with its traceback.
    """
    if isinstance(error, LatentFMError):
        return error
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    ):
        return ResourceError(
            f"Not enough memory for {settings.n_samples} samples. Lower the number of samples, "
            "choose a smaller image or crop, or choose device cpu."
        )
    logger.error("Sampling failed", exc_info=error)
    return LatentFMError(
        f"Sampling failed through a defect of the program ({type(error).__name__}: {error}). "
        "The log holds the details; please report them."
    )
