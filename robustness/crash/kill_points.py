"""Moments to kill a process: after a delay, or at an operation on its folder."""

from __future__ import annotations

import os
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

NAMING = {"os.rename", "os.remove", "os.rmdir", "fsync"}
"""Operations that give files their final names or remove them."""

_TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes
    ----------
    touch
        The process kills itself before the operation of this number, or, with `delay`, signals that
        it reached it and is killed from outside `delay` seconds later. None
        kills by time alone, `delay` after the start.
    delay
        Seconds.
    """

    touch: int | None
    delay: float | None


@dataclass(frozen=True)
class Course:
    """Record of an undisturbed run: its seconds and its operations, in order."""

    seconds: float
    touches: tuple[str, ...]

    def draw(self, rng: random.Random, steered: float) -> Moment:
        """Return a moment; the share `steered` of them is chosen by operations, not by time."""
        if not self.touches or rng.random() >= steered:
            return Moment(None, rng.uniform(0, self.seconds))
        naming = [place for place, kind in enumerate(self.touches) if kind in NAMING]
        chosen = naming if naming and rng.random() < 0.5 else range(len(self.touches))
        # Up to a few milliseconds: as long as writing the files here takes.
        delay = None if rng.random() < 0.5 else rng.expovariate(300)
        return Moment(rng.choice(chosen), delay)


class Touches:
    """Counts the file operations of this process below a folder, and acts at one of them.

    An audit hook sees what Python opens, renames and removes; ``fsync`` has none and is wrapped.
    Writes of compiled code are hit by the delay after an operation.

    Parameters
    ----------
    root
        The folder.
    moment
        When to kill; None only counts.
    descriptor
        File descriptor that gets a byte when the moment is reached.
    """

    def __init__(self, root: Path, moment: Moment | None, descriptor: int) -> None:
        self.seen: list[str] = []
        self._root = os.path.realpath(root)
        self._moment, self._descriptor = moment, descriptor
        real = os.fsync

        def fsync(fd: FileDescriptorLike) -> None:
            self._touched("fsync")
            real(fd)

        os.fsync = fsync
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in _TOUCHES or not isinstance(args[0], str | bytes | os.PathLike):
            return
        if event == "open" and not args[2] & _WRITING:
            return
        if os.path.abspath(os.fsdecode(args[0])).startswith(self._root):
            self._touched(event)

    def _touched(self, kind: str) -> None:
        moment, number = self._moment, len(self.seen)
        self.seen.append(kind)
        if moment is None or moment.touch != number:
            return
        if moment.delay is None:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._descriptor, b"!")
