"""A worker process that reads lines from stdin and writes lines to stdout.

PyTorch's import and the Python part of each training step would hold the interpreter's lock and
block the window if they ran in a thread. The process also ends when the window ends in any way,
since that closes its stdin.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TypeVar

logger = logging.getLogger(__name__)

Event = TypeVar("Event")

TAIL = 400
"""Characters of the last output of a crashed process in the error message."""


def worker_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a module with this Python, not one in the current folder."""
    return sys.executable, "-P", "-m", module


def parsed(lines: Iterable[str], parse: Callable[[str], Event]) -> Iterator[Event]:
    """Yield the events of the lines of a process; an invalid line is logged."""
    for line in lines:
        try:
            event = parse(line)
        except ValueError:
            logger.warning("unexpected output: %s", line[:200])
        else:
            yield event


class ChildProcess:
    """A process; any thread may end it, also before it has begun.

    Parameters
    ----------
    patience
        Seconds within which a process whose input has ended must end; then it is killed.
    low_priority
        Whether the process has a low priority on Windows; elsewhere it lowers its own.

    Attributes
    ----------
    code, output
        Exit status, and the end of what it wrote to stderr, once it has ended.
    """

    def __init__(self, command: Sequence[str], patience: float, low_priority: bool = False) -> None:
        self.code, self.output = 0, ""
        self._command = tuple(command)
        self._patience, self._low_priority = patience, low_priority
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def send(self, line: str) -> None:
        """Send a line, or keep it until the process has begun."""
        with self._lock:
            self._waiting.append(line)
            self._flush()

    def close(self) -> None:
        """End the input, upon which the process ends soon."""
        with self._lock:
            self._closed = True
            if self._process is not None and self._process.stdin is not None:
                try:
                    self._process.stdin.close()
                except OSError:
                    logger.debug("the process had already ended")

    @contextmanager
    def running(self) -> Iterator[Iterable[str] | None]:
        """Run the process within the block, which reads its output; None if it was closed before.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        with tempfile.TemporaryFile() as log:
            process = self._begin(log)
            if process is None:
                yield None
                return
            try:
                yield process.stdout or ()
            finally:
                self.close()
                if process.stdout is not None:
                    process.stdout.close()
                self.code = self._wait(process)
                log.seek(0)
                text = log.read().decode("utf-8", "replace").strip()
                self.output = text[-TAIL:] or "none"
                if self.code:
                    logger.error("%s ended with code %s: %s", self._command[-1], self.code, text)

    def _begin(self, log: IO[bytes]) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._closed:
                return None
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                # Ctrl+C in the terminal must end only the window, which ends the process cleanly.
                start_new_session=True,
                creationflags=self._windows_flags(),
            )
            self._flush()
            return self._process

    def _flush(self) -> None:
        if self._process is None or self._process.stdin is None or self._closed:
            return
        waiting, self._waiting = self._waiting, []
        try:
            for line in waiting:
                self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            logger.debug("the process has ended")

    def _wait(self, process: subprocess.Popen[str]) -> int:
        try:
            return process.wait(self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _windows_flags(self) -> int:
        """Return flags for a process without a window, perhaps of low priority; 0 elsewhere."""
        names = ["CREATE_NO_WINDOW"]
        if self._low_priority:
            names.append("BELOW_NORMAL_PRIORITY_CLASS")
        return sum(int(getattr(subprocess, name, 0)) for name in names)
