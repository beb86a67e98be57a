"""One background job per viewer, which runs requests with a loaded model.

Loading, PyTorch's import included, and sampling happen in a worker thread; every signal is
emitted in the GUI thread. A run ends in exactly one `Outcome`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from psygnal import Signal
from qtpy.QtCore import QTimer

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError, ResourceError
from napari_latentfm.background.signals import start_worker
from napari_latentfm.background.warm_model import Load, WarmModel, load_segmenter

if TYPE_CHECKING:
    from latentfm_core.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

FIRST_MS = 400
"""Time until the first update: a quick answer comes sooner without any."""
PROGRESS_MS = 100
"""Minimum time between two updates. Each one repaints the window, while the worker computes."""

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Update:
    """Progress of a run: `done` of `total` steps; `total` is 0 if the number is not known."""

    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Outcome(Generic[R_co]):
    """End of a run: a result, an error for the user, or neither if it was cancelled."""

    result: R_co | None = None
    error: LatentFMError | None = None


class JobRequest(Protocol[R_co]):
    """A request for a background job."""

    @property
    def model(self) -> str | Path:
        """Name of a bundled model, or a model folder."""

    @property
    def settings(self) -> SamplingConfig:
        """Sampling settings, including device and precision."""

    def work(
        self, segmenter: Segmenter, stop: threading.Event
    ) -> Generator[Update, None, Outcome[R_co]]:
        """Do the work in the worker thread.

        Soon after the event is set it ends with an empty outcome.
        """


@dataclass(frozen=True)
class WorkRequest(Generic[R]):
    """A request whose work is a function, see `JobRequest`."""

    model: str | Path
    settings: SamplingConfig
    draw: Callable[[Segmenter, threading.Event], Generator[Update, None, Outcome[R]]]

    def work(
        self, segmenter: Segmenter, stop: threading.Event
    ) -> Generator[Update, None, Outcome[R]]:
        """Do the work, see `JobRequest.work`."""
        return self.draw(segmenter, stop)


class Run(Generic[R]):
    """One run of a job; listeners hold it to recognise the run.

    Signals are emitted in the GUI thread; `ended` comes exactly once.
    """

    progressed = Signal(Update)
    ended = Signal(Outcome)

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._outcome: Outcome[R] = Outcome()
        self._latest: Update | None = None
        self._is_pausing = True
        self.running = True

    def follow(self, work: Callable[..., Generator[Update, None, Outcome[R]]], *args: Any) -> None:
        """Start a worker thread with ``work(*args, stop)`` and report what it does."""
        start_worker(
            self,
            work,
            *args,
            self._stop,
            yielded=self._receive,
            returned=self._returned,
            finished=self._finished,
        )
        QTimer.singleShot(FIRST_MS, self._report)

    def cancel(self) -> None:
        """Ask the run to stop; it does within one ODE step."""
        self._stop.set()

    def abandon(self) -> None:
        """Cancel and disconnect all listeners; for one that is about to be deleted."""
        self.cancel()
        self.progressed.disconnect()
        self.ended.disconnect()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()

    def _receive(self, update: Update) -> None:
        self._latest = update
        if not self._is_pausing:
            self._report()

    def _report(self) -> None:
        """Emit the latest update, and pause."""
        update, self._latest = self._latest, None
        self._is_pausing = update is not None and self.running and not self.cancelled
        if update is not None and self._is_pausing:
            self.progressed.emit(update)
            QTimer.singleShot(PROGRESS_MS, self._report)

    def _returned(self, outcome: Outcome[R]) -> None:
        self._outcome = outcome

    def _finished(self) -> None:
        # `finished` is also emitted by a worker that was asked to quit, which returns nothing.
        self.running = False
        # Listeners keep the run after its end, but its result must be released.
        outcome, self._outcome = self._outcome, Outcome()
        self.ended.emit(Outcome() if self.cancelled else outcome)
        # Qt's worker outlives its work, and would keep all listeners with layers and results.
        self.progressed.disconnect()
        self.ended.disconnect()


class SamplingJob:
    """Runs requests one at a time in a worker thread."""

    def __init__(self, load: Load = load_segmenter) -> None:
        self.load = load
        self._warm = WarmModel()
        self._run: Run[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run has not ended yet; a cancelled one may need one more ODE step."""
        return self._run is not None and self._run.running

    def start(self, request: JobRequest[R]) -> Run[R]:
        """Start a run; connect to its signals before control returns to the event loop.

        Raises
        ------
        ResourceError
            If another run has not ended yet.
        """
        if self.busy:
            raise ResourceError("Another run has not ended yet. Wait for it, or cancel it first.")
        run: Run[R] = Run()
        self._run = run
        run.follow(_work, request, self.load, self._warm)
        return run

    def unload(self) -> bool:
        """Release the loaded model and its memory; return whether there was one.

        Raises
        ------
        ResourceError
            If a run is using it.
        """
        if self.busy:
            raise ResourceError("A run is using the model. Cancel it, or wait until it ends.")
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
    request: JobRequest[R], load: Load, warm: WarmModel, stop: threading.Event
) -> Generator[Update, None, Outcome[R]]:
    """Do the work of a request and never raise.

    The worker swallows a RuntimeError of its generator without a signal, and every error of
    PyTorch is one.
    """
    try:
        segmenter = warm.find(request.model, request.settings)
        if segmenter is None:
            yield Update("Loading model…")
            segmenter = warm.load(request.model, request.settings, load)
        return (yield from request.work(segmenter, stop))
    except Exception as error:
        return Outcome(error=explain(error, request.settings))


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False  # not its error; importing it takes seconds
    from latentfm_core.inference.device import is_out_of_memory

    return is_out_of_memory(error)


def explain(error: Exception, settings: SamplingConfig) -> LatentFMError:
    """Turn any error of a run into one whose message is meant for the user.

    An unexpected error is logged with its traceback.
    """
    if isinstance(error, LatentFMError):
        return error
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return ResourceError(
            f"Not enough memory for {settings.n_samples} samples. Lower the number of samples, "
            "choose a smaller image or crop, or choose device cpu."
        )
    logger.error("Sampling failed", exc_info=error)
    return LatentFMError(
        "Sampling failed because of a bug in napari-latentfm "
        f"({type(error).__name__}: {error}). Please report it, with the details in the log."
    )
