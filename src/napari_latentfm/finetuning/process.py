"""A fine-tuning run in a separate process, followed by a worker thread.

The import of PyTorch and the Python part of each training step hold the interpreter's lock: in a
thread they would block the window. The process also ends, with its checkpoint saved, when the
window ends in any way, since that closes its stdin.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from typing import IO

from psygnal import Signal

from latentfm_core.finetuning.messages import (
    Doing,
    Event,
    Failed,
    Stopped,
    Verdict,
    from_line,
)
from latentfm_core.finetuning.request import LearningRequest
from napari_latentfm.background.signals import start_worker

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "latentfm_core.finetuning.worker")
PATIENCE = 120.0
"""Seconds within which a process that was asked to stop must save and end."""
TAIL = 400
"""Characters of the last output of a crashed process in the error message."""


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
        self._process = _Process()
        self._ending: Event | None = None

    def start(self) -> None:
        """Start the run; connect to its signals before control returns to the event loop."""
        self.running = True
        start_worker(
            self,
            _work,
            self.request,
            self._process,
            yielded=self._receive,
            returned=self._returned,
            finished=self._finished,
        )

    def stop(self) -> None:
        """Ask the run to stop; it ends within one training step, with a checkpoint."""
        self._process.stop()

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


class _Process:
    """The process of a run; any thread may stop it, also before it has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None

    def start(self, request: LearningRequest, log: IO[bytes]) -> subprocess.Popen[str] | None:
        """Start the process and send it the request; None if it was stopped before."""
        with self._lock:
            if self._stopped:
                return None
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                # Ctrl+C in the terminal must end only the window, which stops the run cleanly.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            self._process = process
            if process.stdin is not None:
                try:
                    process.stdin.write(request.model_dump_json() + "\n")
                    process.stdin.flush()
                except OSError:
                    logger.debug("the process ended before it received the request")
            return process

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except OSError:
                    logger.debug("the process had already ended")


def _work(request: LearningRequest, process: _Process) -> Generator[Event, None, Event]:
    """Follow the run and never raise: napari's worker drops some errors without a signal."""
    try:
        return (yield from _follow(request, process))
    except Exception as error:
        logger.error("Fine-tuning failed", exc_info=error)
        return Failed(
            f"The training process could not be run ({type(error).__name__}: {error}). Check "
            "free memory and the installation, then start again."
        )


def _follow(request: LearningRequest, handle: _Process) -> Generator[Event, None, Event]:
    with tempfile.TemporaryFile() as log:
        process = handle.start(request, log)
        if process is None:
            return Stopped(resumable=False)
        try:
            yield Doing("Starting…")
            ending: Event | None = None
            for line in process.stdout or ():
                event = _parse(line)
                if isinstance(event, Verdict | Stopped | Failed):
                    ending = event
                elif event is not None:
                    yield event
        finally:
            handle.stop()
            if process.stdout is not None:
                process.stdout.close()
            code = _wait(process)
        return ending or Failed(_crash_message(log, code))


def _parse(line: str) -> Event | None:
    try:
        return from_line(line)
    except ValueError:
        logger.warning("unexpected output: %s", line[:200])
        return None


def _wait(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _crash_message(log: IO[bytes], code: int) -> str:
    log.seek(0)
    text = log.read().decode("utf-8", "replace").strip()
    logger.error("the training process ended with code %s: %s", code, text)
    return (
        f"The training process ended unexpectedly (code {code}), perhaps out of memory. "
        f"Resume continues from the last checkpoint. Its output: {text[-TAIL:] or 'none'}"
    )
