"""Run jobs in forks of a process that has already imported everything."""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustness.crash.kill_points import Course, Moment, Touches

PATIENCE = 120.0
"""Timeout in seconds, after which a job counts as a finding."""
CRASHED = 70


class Progress:
    """Shared counters of the last finished states, which survive a killed process."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 16)

    @property
    def value(self) -> int:
        """State of the process itself; 0 at the start."""
        return int.from_bytes(self._shared[:8], "little")

    @value.setter
    def value(self, value: int) -> None:
        self._shared[:8] = value.to_bytes(8, "little")

    @property
    def second(self) -> int:
        """State of a second process that writes at the same time."""
        return int.from_bytes(self._shared[8:], "little")

    @second.setter
    def second(self, value: int) -> None:
        self._shared[8:] = value.to_bytes(8, "little")


Work = Callable[[Path, Progress], int]


@dataclass(frozen=True)
class Ending:
    """End of a process.

    Attributes
    ----------
    how
        ``"killed"``, ``"done"`` or ``"failed"``.
    said
        Its printed output.
    course
        Its seconds and file operations.
    modules
        Imported modules, if it finished.
    """

    how: str
    said: str
    course: Course
    modules: tuple[str, ...] = ()


def run(
    work: Work, folder: Path, reached: Progress, log: Path, moment: Moment | None = None
) -> Ending:
    """Run `work` in a separate process; kill it at `moment`."""
    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(work, folder, reached, log, moment, writing)
    os.close(writing)
    by_time = moment is not None and moment.touch is None
    delay = moment.delay if by_time and moment is not None else None
    heard = _hear(reading, PATIENCE if delay is None else delay)
    if by_time and heard is None:
        os.kill(child, signal.SIGKILL)
    elif heard == b"!" and moment is not None:
        time.sleep(moment.delay or 0.0)
        os.kill(child, signal.SIGKILL)
    elif heard is None:
        os.kill(child, signal.SIGKILL)
        heard = b"?"
    rest = (heard or b"") + _rest(reading)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - start
    said = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""
    if rest == b"?":
        return Ending("failed", f"no end after {PATIENCE:.0f} s\n{said}", Course(seconds, ()))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Ending("killed", said, Course(seconds, ()))
    touches, modules = json.loads(rest.lstrip(b"!") or b"[[], []]")
    how = "done" if status == 0 else "failed"
    return Ending(how, f"{said}\nexit status {status}", Course(seconds, tuple(touches)), modules)


def warm(modules: Iterable[str]) -> None:
    """Import the modules that a job imported, so that its forks need not."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def ask(question: Callable[[], Any], log: Path) -> Any:
    """Return the JSON value of `question`, called in a separate process.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = CRASHED
        try:
            _show_into(log)
            _write_all(writing, json.dumps(question()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(code)
    os.close(writing)
    answer = _rest(reading)
    os.close(reading)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(log.read_text(encoding="utf-8", errors="replace")[-3000:])
    return json.loads(answer)


def _be_child(
    work: Work, folder: Path, reached: Progress, log: Path, moment: Moment | None, signal_fd: int
) -> None:
    code = CRASHED
    try:
        _show_into(log)
        touches = Touches(folder, moment, signal_fd)
        code = work(folder, reached)
        _write_all(signal_fd, json.dumps([touches.seen, sorted(sys.modules)]).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _show_into(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _hear(descriptor: int, seconds: float) -> bytes | None:
    """Return the next byte, b"" at the end, None after a timeout."""
    ready, _, _ = select.select([descriptor], [], [], seconds)
    return os.read(descriptor, 1) if ready else None


def _rest(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
