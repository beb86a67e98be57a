"""Background sampling: the open image first, then the next one, then all the others."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from psygnal import Signal

from latentfm_core.config import SamplingConfig
from latentfm_core.images.read import read_image
from latentfm_core.model_io.ensemble import model_files
from latentfm_core.types import ImageInput
from latentfm_core.worklist.state import existing_image
from napari_latentfm.background.image_request import ImageRequest, Result
from napari_latentfm.background.job import Outcome, Run, SamplingJob, Update
from napari_latentfm.background.warm_model import file_stamps
from napari_latentfm.reading import reading_limits

CACHE_BYTES = 512 * 2**20
CACHE_ENTRIES = 4

Kind = Literal["open", "ahead", "measure"]


@dataclass(frozen=True)
class Task:
    """An image to sample, with model and settings."""

    name: str
    path: Path
    model: str | Path
    settings: SamplingConfig

    def key(self) -> str:
        """Return a digest of image file, model files and settings, which identifies the result."""
        stamps = file_stamps([self.path, *model_files(Path(self.model))])
        identity = repr((str(self.path), str(self.model), stamps, self.settings.model_dump_json()))
        return hashlib.blake2b(
            identity.encode("utf-8", "surrogateescape"), digest_size=16
        ).hexdigest()


@dataclass(frozen=True)
class Drawn:
    """An image and its samples."""

    image: ImageInput
    result: Result

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        samples, summary = self.result.samples, self.result.summary
        maps = [value for value in vars(summary).values() if hasattr(value, "nbytes")]
        every = [self.image.pixels, samples.probabilities, *maps]
        return sum(int(array.nbytes) for array in every)


class _Reader:
    """Reads an image in the worker thread and stores it."""

    def __init__(self, path: Path, image: ImageInput | None) -> None:
        self._path = path
        self.image = image

    def __call__(self) -> ImageInput:
        if self.image is None:
            self.image = read_image(existing_image(self._path), reading_limits())
        return self.image


@dataclass
class _Active:
    task: Task
    key: str
    kind: Kind
    run: Run[Result]


class Prefetcher:
    """Draws samples in one background thread with its own loaded model.

    A request for the open image interrupts other work, which continues afterwards.

    Attributes
    ----------
    ended
        Emitted in the GUI thread with task, kind, `Drawn` or None, error or None; both are None
        if it was cancelled.
    """

    ended = Signal(object, str, object, object)
    progressed = Signal(str, Update)
    started = Signal()

    def __init__(self) -> None:
        self.job = SamplingJob()
        self._active: _Active | None = None
        self._open: tuple[Task, ImageInput] | None = None
        self._ahead: Task | None = None
        self._to_measure: deque[Task] = deque()
        self._cache: OrderedDict[str, Drawn] = OrderedDict()
        self._closed = False

    def find(self, task: Task) -> Drawn | None:
        """Return the samples of a task if they are in the cache."""
        return self._cache.get(task.key())

    def open(self, task: Task, image: ImageInput) -> None:
        """Draw samples of the open image before anything else."""
        self._open, self._ahead = (task, image), None
        active = self._active
        if active is not None and active.key == task.key() and not active.run.cancelled:
            # The image is being sampled ahead.
            active.kind, self._open = "open", None
        elif active is not None:
            active.run.cancel()
        self._go()

    def read_ahead(self, task: Task | None) -> None:
        """Draw samples of the next image when nothing else runs."""
        self._ahead = task if task is not None and self.find(task) is None else None
        self._go()

    def measure(self, tasks: list[Task]) -> None:
        """Draw samples of many images in order when nothing else runs."""
        self._to_measure = deque(tasks)
        self._go()

    @property
    def busy(self) -> bool:
        """Whether samples are being drawn."""
        return self._active is not None

    @property
    def measuring(self) -> int:
        """Number of images that are still to be measured."""
        now = self._active is not None and self._active.kind == "measure"
        return len(self._to_measure) + now

    def stop(self, *kinds: Kind) -> None:
        """Cancel work of some kinds; a run ends within one ODE step."""
        if "open" in kinds:
            self._open = None
        if "ahead" in kinds:
            self._ahead = None
        if "measure" in kinds:
            self._to_measure.clear()
        if self._active is not None and self._active.kind in kinds:
            if self._active.kind == "measure":
                # Otherwise the end of the run would queue it again.
                self._active.kind = "ahead"
            self._active.run.cancel()

    def close(self) -> None:
        """Cancel everything without further signals."""
        self._closed = True
        self._open, self._ahead = None, None
        self._to_measure.clear()
        self._cache.clear()
        self.ended.disconnect()
        self.progressed.disconnect()
        self.started.disconnect()
        if self._active is not None:
            self._active.run.abandon()

    def _go(self) -> None:
        if self._closed or self._active is not None or self.job.busy:
            return
        image: ImageInput | None = None
        kind: Kind
        if self._open is not None:
            (task, image), self._open, kind = self._open, None, "open"
        elif self._ahead is not None:
            task, self._ahead, kind = self._ahead, None, "ahead"
        elif self._to_measure:
            task, kind = self._to_measure.popleft(), "measure"
        else:
            return
        reader = _Reader(task.path, image)
        run = self.job.start(ImageRequest(reader, task.model, task.settings))
        self._active = _Active(task, task.key(), kind, run)
        run.progressed.connect(self._on_progress)
        run.ended.connect(partial(self._on_end, self._active, reader))
        self.started.emit()

    def _on_progress(self, update: Update) -> None:
        if self._active is not None:
            self.progressed.emit(self._active.kind, update)

    def _on_end(self, active: _Active, reader: _Reader, outcome: Outcome[Result]) -> None:
        self._active = None
        drawn: Drawn | None = None
        if outcome.result is not None and reader.image is not None:
            drawn = Drawn(reader.image, outcome.result)
            if active.kind != "measure":
                self._keep(active.key, drawn)
        elif active.run.cancelled and active.kind == "measure":
            self._to_measure.appendleft(active.task)
        try:
            self.ended.emit(active.task, active.kind, drawn, outcome.error)
        finally:
            self._go()

    def _keep(self, key: str, drawn: Drawn) -> None:
        self._cache[key] = drawn
        self._cache.move_to_end(key)
        while self._cache and (
            len(self._cache) > CACHE_ENTRIES
            or sum(entry.nbytes for entry in self._cache.values()) > CACHE_BYTES
        ):
            self._cache.popitem(last=False)
