"""Adapt the model while the user works through a folder."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QFileDialog

from latentfm_core.adaptation.messages import (
    Accept,
    Adapted,
    Command,
    Event,
    Pause,
    Skipped,
    Start,
    Undo,
    Working,
)
from latentfm_core.adaptation.record import AdaptationFolder, keep_as_model
from latentfm_core.config import ADAPTATION
from latentfm_core.errors import LatentFMError
from latentfm_core.worker import Failed
from latentfm_core.worklist.accepted import accepted
from latentfm_core.worklist.state import WorkList
from napari_latentfm import preferences
from napari_latentfm.adapting.form import AdaptingForm
from napari_latentfm.adapting.process import AdaptationProcess
from napari_latentfm.adapting.stored import StoredAdaptation, forget, stored_adaptation
from napari_latentfm.background.signals import listen
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from napari_latentfm.sampling.panel import SamplingPanel
    from napari_latentfm.worklist.panel import QueuePanel

logger = logging.getLogger(__name__)

SECTION = "adaptation"
"""Section of the preferences."""
MEASURE_AGAIN = 1.5
"""Growth of the number of learned images after which the list is ranked again."""
NO_LIST = "Open a folder first."


class Adapting(QObject):
    """Connects a work list with the process that adapts its model.

    Parameters
    ----------
    queue
        The work list. It gets the controls, and draws samples with the adapted model once that
        is used.
    sampling
        The sampling panel, which does the same for the open image of the list.

    Attributes
    ----------
    config
        Settings of the adaptation, for use from Python.
    """

    def __init__(self, queue: QueuePanel, sampling: SamplingPanel) -> None:
        super().__init__(queue)
        self._queue, self._sampling = queue, sampling
        self.form = AdaptingForm()
        self.config = ADAPTATION
        self._tasks = TaskQueue()
        self._processes: list[AdaptationProcess] = []
        self._work: WorkList | None = None
        self._stored = StoredAdaptation("")
        self._opened_with: tuple[str, Path | None] | None = None
        self._paused = False
        self._measured_with = 0
        self.form.switch.setChecked(preferences.get(SECTION).get("on") is True)
        queue.form.add_section(self.form)
        queue.form.stand_in = self._for_list
        sampling.form.stand_in = self._for_chosen
        self._connect()
        self.look()

    @property
    def on(self) -> bool:
        """Whether the switch is on."""
        return self.form.switch.isChecked()

    @property
    def running(self) -> bool:
        """Whether the process of an adaptation runs."""
        return bool(self._processes)

    def look(self) -> None:
        """Read the stored adaptation of the chosen model and list again, and show it."""
        work = self._queue.work
        if work is None:
            self._stored = StoredAdaptation("")
            self.form.show_state(NO_LIST if self.on else "", adapted=False)
            return
        try:
            source = self._queue.form.model.source()
        except LatentFMError as error:
            self._stored = StoredAdaptation("", problem=str(error))
        else:
            self._stored = stored_adaptation(source, work.output)
        text = self._stored.text(self.config) if self.on else ""
        self.form.show_state(text, self._stored.learned)

    def learn(self, name: str, file: Path) -> None:
        """Learn from an image that was accepted, if the switch is on."""
        if not self.on or self._work is None or self._stored.problem:
            return
        accept = Accept(name=name, file=file.name)
        if not self._processes:
            self._begin(self._work)
            earlier = [] if self._stored.begun else accepted(self._work)
            for each in earlier:
                if each != name:
                    self._send(Accept(name=each, file=self._work.annotation(each).name))
        self._send(accept)

    def undo(self) -> None:
        """Return to the original model."""
        if self._processes:
            self._send(Undo())
        elif self._work is not None:
            work = partial(forget, self._work.output, self._stored)
            self._tasks.submit(work, self._on_forgotten)

    def keep(self) -> None:
        """Ask for a name, and copy the adapted model to a folder of that name."""
        if self._work is None:
            return
        name = f"{self._stored.record.parent}-adapted-{len(self._stored.record.images)}"
        title = "Keep the adapted model as"
        chosen, _ = QFileDialog.getSaveFileName(
            self.form, title, str(self._work.folder.parent / name), "Model folder (*)"
        )
        if chosen:
            self.keep_as(Path(chosen))

    def keep_as(self, target: Path) -> None:
        """Copy the adapted model to a new model folder."""
        if self._work is not None:
            folder = AdaptationFolder(self._work.output)
            done = partial(self._on_kept, target)
            self._tasks.submit(partial(keep_as_model, folder, target), done)

    def release(self) -> None:
        """End the process; what was learned is kept with the list."""
        _end(self._processes)

    def _send(self, command: Command) -> None:
        for process in self._processes:
            process.send(command)

    def _begin(self, work: WorkList) -> None:
        start = Start(
            model=self._stored.source,
            images=work.folder.resolve(),
            output=work.output.resolve(),
            config=self.config,
            limits=reading_limits(),
        )
        process = AdaptationProcess(start)
        process.received.connect(self._on_event)
        process.ended.connect(self._on_ended)
        self._processes.append(process)
        self._paused = False
        self._update_pause()

    def _for_list(self, source: str | Path, name: str | None) -> str | Path:
        """Return the model for an image of the list: the adapted one, if it is used.

        The open image keeps the model that its first samples were drawn with: corrections
        continue from these.
        """
        adapted = self._stored.model if self.on else None
        if name is not None and name == self._queue.current:
            if self._opened_with is None or self._opened_with[0] != name:
                self._opened_with = (name, adapted)
            adapted = self._opened_with[1]
        return source if adapted is None else adapted

    def _for_chosen(self, source: str | Path) -> str | Path:
        """Return the model for the image that is chosen in the header."""
        opened = self._queue.open_image.layer
        if opened is None or self._sampling.form.image.value is not opened:
            return source
        return self._for_list(source, self._queue.current)

    def _on_switch(self, on: bool) -> None:
        preferences.put(SECTION, {"on": on})
        if not on:
            self.release()
        self.look()
        self._open_again()

    def _on_listed(self) -> None:
        if self._queue.work is not self._work:
            self._work = self._queue.work
            self._opened_with, self._measured_with = None, 0
            self.release()
            self.look()

    def _on_model(self, _text: str = "") -> None:
        self._opened_with = None
        self.release()
        self.look()

    def _open_again(self) -> None:
        """Draw the samples of the open image again if it now has another model."""
        current = self._queue.current
        if current is None or self._opened_with is None:
            return
        before, self._opened_with = self._opened_with[1], None
        if before != (self._stored.model if self.on else None):
            self._queue.open(current)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Working):
            seconds = max(1, round(event.seconds_left))
            self.form.show_message(f"Adapting… {seconds} s")
        elif isinstance(event, Adapted):
            before = self._stored
            self.look()
            if before.learned and not event.images:
                self._open_again()
            elif before.model != self._stored.model:
                self._queue.browsing.read_ahead()
                self._measure_again(event.images)
        elif isinstance(event, Skipped):
            self.form.show_message(f"Nothing was learned from {event.name}: {event.reason}")
        elif isinstance(event, Failed):
            logger.warning("%s", event.message)
            self.release()
            self.form.show_message(event.message)

    def _measure_again(self, images: int) -> None:
        """Measure the uncertainty with the adapted model when it has learned enough new images."""
        if self._queue.form.by_uncertainty and images >= MEASURE_AGAIN * self._measured_with:
            self._measured_with = images
            self._queue.sampling.measure()

    def _on_ended(self) -> None:
        self._processes.clear()

    def _on_forgotten(self, error: Any) -> None:
        self.look()
        if isinstance(error, LatentFMError):
            self.form.show_message(str(error))
        else:
            self._open_again()

    def _on_kept(self, target: Path, error: Any) -> None:
        kept = f"Kept as {target.name}. Choose its folder as the model to use it elsewhere."
        self.form.show_message(str(error) if isinstance(error, LatentFMError) else kept)

    def _update_pause(self) -> None:
        """Pause while samples are drawn, which need the processor more."""
        paused = self._sampling.running or self._queue.sampler.busy
        if self._processes and paused != self._paused:
            self._paused = paused
            self._send(Pause(paused=paused))

    def _look_at_work(self, *_: object) -> None:
        # After the end of a run the next one may start at once.
        QTimer.singleShot(0, self._update_pause)

    def _connect(self) -> None:
        queue, form = self._queue, self.form
        form.switch.toggled.connect(self._on_switch)
        form.keep.clicked.connect(lambda: self.keep())
        form.undo.clicked.connect(lambda: self.undo())
        queue.listed.connect(self._on_listed)
        queue.completed.connect(self.learn)
        queue.form.model.changed.connect(self._on_model)
        for signal in (queue.sampler.started, queue.sampler.ended):
            signal.connect(self._look_at_work)
        for signal in (self._sampling.started, self._sampling.finished):
            listen(self, signal, self._look_at_work)
        # A closing window deletes its panels without an event.
        processes, tasks = self._processes, self._tasks
        queue.destroyed.connect(lambda: _end(processes))
        queue.destroyed.connect(lambda: tasks.close())


def _end(processes: list[AdaptationProcess]) -> None:
    for process in processes:
        process.abandon()
    processes.clear()
