"""A fine-tuning run in a separate process, followed by a worker thread.

The process saves its checkpoint when its input ends, as it does when the window ends in any way.
"""

from __future__ import annotations

import logging
from collections.abc import Generator

from psygnal import Signal

from latentfm_core.finetuning.messages import Doing, Event, Stopped, Verdict, event_from
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.worker import Failed
from napari_latentfm.background.child_process import ChildProcess, parsed, worker_command
from napari_latentfm.background.signals import start_worker

logger = logging.getLogger(__name__)

COMMAND = worker_command("latentfm_core.finetuning.worker")
PATIENCE = 120.0
"""Seconds within which a process that was asked to stop must save and end."""


class LearningRun:
    """One fine-tuning run.

    Signals are emitted in the GUI thread. `ended` is emitted exactly once, with a `Verdict`, a
    `Stopped` or a `Failed`.
    """

    progressed = Signal(object)
    ended = Signal(object)

    def __init__(self, request: LearningRequest) -> None:
        self.request = request
        self.running = False
        self._process = ChildProcess(COMMAND, PATIENCE)
        self._process.send(request.model_dump_json())
        self._ending: Event | None = None

    def start(self) -> None:
        """Start the run; connect to its signals before control returns to the event loop."""
        self.running = True
        start_worker(
            self,
            _work,
            self._process,
            yielded=self._receive,
            returned=self._returned,
            finished=self._finished,
        )

    def stop(self) -> None:
        """Ask the run to stop; it ends within one training step, with a checkpoint."""
        self._process.close()

    def abandon(self) -> None:
        """Stop, and disconnect all listeners; for one that is about to be deleted."""
        self.stop()
        self.progressed.disconnect()
        self.ended.disconnect()

    def _receive(self, event: Event) -> None:
        self.progressed.emit(event)

    def _returned(self, ending: Event) -> None:
        self._ending = ending

    def _finished(self) -> None:
        # `finished` is also emitted by a worker that was asked to quit, which returns nothing.
        self.running = False
        self.ended.emit(self._ending or Stopped(resumable=False))


def _work(process: ChildProcess) -> Generator[Event, None, Event]:
    """Follow the run and never raise: napari's worker drops some errors without a signal."""
    try:
        return (yield from _follow(process))
    except Exception as error:
        logger.error("Fine-tuning failed", exc_info=error)
        return Failed(
            message="The training process could not be run "
            f"({type(error).__name__}: {error}). Check free memory and the installation, then "
            "start again."
        )


def _follow(process: ChildProcess) -> Generator[Event, None, Event]:
    ending: Event | None = None
    with process.running() as lines:
        if lines is None:
            return Stopped(resumable=False)
        yield Doing(text="Starting…")
        for event in parsed(lines, event_from):
            if isinstance(event, Verdict | Stopped | Failed):
                ending = event
            else:
                yield event
    return ending or Failed(
        message=f"The training process ended unexpectedly (code {process.code}), perhaps out of "
        f"memory. Resume continues from the last checkpoint. Its output: {process.output}"
    )
