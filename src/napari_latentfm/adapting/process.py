"""The process of an adaptation, followed by a thread.

A process of its own, with low priority: PyTorch's import and the Python part of each training
step would hold the interpreter's lock and block the window. It also ends when the window ends in
any way, since that closes its stdin.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from psygnal import Signal

from latentfm_core.adaptation.messages import Command, Event, Failed, Start, event_from, to_line
from napari_latentfm.background.thread_task import ThreadTask

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "latentfm_core.adaptation.worker")
PATIENCE = 60.0
"""Seconds within which a process whose input has ended must end."""
TAIL = 400
"""Characters of the last output of a crashed process in the error message."""


class AdaptationProcess:
    """One process; its signals are emitted in the GUI thread.

    Attributes
    ----------
    received
        Emitted with each `Event`.
    ended
        Emitted once, at the end.
    """

    received = Signal(object)
    ended = Signal()

    def __init__(self, start: Start) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: list[Command] = [start]
        self._process: subprocess.Popen[str] | None = None
        self._task = ThreadTask(self._follow)
        self._task.reported.connect(self.received.emit)
        self._task.ended.connect(self.ended.emit)
        self._task.start()

    def send(self, command: Command) -> None:
        """Send a command, or keep it until the process has begun."""
        with self._lock:
            self._waiting.append(command)
            self._flush()

    def close(self) -> None:
        """Let the process end within one training step."""
        with self._lock:
            self._closed = True
            if self._process is not None and self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except OSError:
                    logger.debug("the process had already ended")

    def abandon(self) -> None:
        """Close, and emit nothing more."""
        self.close()
        self.received.disconnect()
        self.ended.disconnect()
        self._task.quit()

    def _flush(self) -> None:
        if self._process is None or self._process.stdin is None or self._closed:
            return
        waiting, self._waiting = self._waiting, []
        try:
            for command in waiting:
                self._process.stdin.write(to_line(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            logger.debug("the process has ended")

    def _follow(self) -> Iterator[Event]:
        with tempfile.TemporaryFile() as log:
            try:
                process = self._begin(log)
            except OSError as error:
                yield Failed(message=f"The process of the adaptation cannot be started: {error}.")
                return
            if process is None:
                return
            failed = False
            try:
                for line in process.stdout or ():
                    event = _parse(line)
                    if event is not None:
                        failed = failed or isinstance(event, Failed)
                        yield event
            finally:
                self.close()
                if process.stdout is not None:
                    process.stdout.close()
                code = _wait(process)
            if code and not failed:
                yield Failed(message=_crash_message(log, code))

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._closed:
                return None
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                # Ctrl+C in the terminal must end only the window, which ends the process cleanly.
                start_new_session=True,
                creationflags=_windows_flags(),
            )
            self._flush()
            return self._process


def _windows_flags() -> int:
    """Return flags for a process without a window and of low priority; 0 elsewhere."""
    names = ("CREATE_NO_WINDOW", "BELOW_NORMAL_PRIORITY_CLASS")
    return sum(int(getattr(subprocess, name, 0)) for name in names)


def _parse(line: str) -> Event | None:
    try:
        return event_from(line)
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
    logger.error("the process of the adaptation ended with code %s: %s", code, text)
    return (
        f"The process of the adaptation ended unexpectedly (code {code}), perhaps out of memory. "
        f"Its output: {text[-TAIL:] or 'none'}"
    )
