"""Run single cases and classify the outcome."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from latentfm_core.errors import LatentFMError

CASE, OUTSIDE = "case", "outside"

_PATHS = {
    "os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.symlink": 2, "os.link": 2,
    "os.truncate": 1, "os.chmod": 1,
}  # fmt: skip
_PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
_NETWORK = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}


@dataclass(frozen=True)
class Target:
    """One reader of files.

    Attributes
    ----------
    make
        Returns the damaged files of a case, by path.
    read
        Reads them from the case's folder; may raise `LatentFMError` and nothing else.
    share
        Relative frequency.
    """

    make: Callable[[random.Random], dict[str, bytes]]
    read: Callable[[Path], object]
    share: int = 1


class Hang(BaseException):
    """A case took too long."""


@dataclass
class Outcome:
    """Outcome of a case: ``"value"``, ``"refused"`` or the kind of a finding."""

    target: str
    kind: str
    seconds: float
    detail: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it is neither a value nor an error meant for the user."""
        return self.kind not in {"value", "refused"}


class Watch:
    """Records access to files, programs and the network with an audit hook."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.inside = os.path.join(self.root, CASE)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            self._opened(*args)
        elif event in _PATHS:
            for path in args[: _PATHS[event]]:
                self._touched(event, path)
        elif event in _PROGRAMS or event in _NETWORK:
            self.seen.append(f"{event} {args[:1]!r}"[:300])

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if isinstance(path, int) or path is None:
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            self._touched("open for writing", path)
            return
        where = os.path.realpath(os.fsdecode(path))
        foreign = where.startswith(self.root) and not where.startswith(self.inside)
        if foreign or where == "/etc/passwd":
            self.seen.append(f"read {where}"[:300])

    def _touched(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        if not os.path.isabs(name) and event.startswith("os."):
            return  # relative to an open folder (shutil.rmtree)
        # Creating an existing folder is allowed; for a file, its folder counts.
        where = os.path.realpath(name if event == "os.mkdir" else os.path.dirname(name))
        if not where.startswith(self.inside) and name != os.devnull:
            self.seen.append(f"{event} {name}"[:300])


class Runner:
    """Runs cases of a set of targets in one folder.

    Parameters
    ----------
    targets
        By name.
    seed
        With the number of a case it determines that case.
    root
        Empty folder; cases are unpacked below it.
    seconds
        Processor time that a case may take.
    """

    def __init__(
        self, targets: Mapping[str, Target], seed: int, root: Path, seconds: float
    ) -> None:
        self.targets, self.seed, self.root, self.seconds = targets, seed, root, seconds
        self._names = [name for name, target in targets.items() for _ in range(target.share)]
        self._watch = Watch(root)
        outside = root / OUTSIDE
        outside.mkdir()
        for name in ("secret", "secret.json", "secret.tif"):
            (outside / name).write_text("{}")
        warnings.filterwarnings("error", module=r"latentfm_core\..*")
        signal.signal(signal.SIGPROF, _too_long)

    def name_of(self, index: int) -> str:
        """Return the target of a case."""
        return random.Random(f"{self.seed}:{index}").choice(self._names)

    def unpack(self, index: int) -> Path:
        """Write the files of a case; return its folder."""
        name = self.name_of(index)
        folder = self.root / CASE
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        rng = random.Random(f"{self.seed}:{index}:{name}")
        for path, content in self.targets[name].make(rng).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return folder

    def run(self, index: int) -> Outcome:
        """Run a case."""
        name, folder = self.name_of(index), self.unpack(index)
        self._watch.seen.clear()
        start = time.process_time()
        kind, detail = self._read(name, folder)
        seconds = time.process_time() - start
        self._watch.on = False
        if self._watch.seen:
            kind, detail = "outside", "; ".join(self._watch.seen)
        if sorted(os.listdir(self.root)) != [CASE, OUTSIDE]:
            kind, detail = "outside", f"{os.listdir(self.root)} in the folder above"
        return Outcome(name, kind, seconds, detail)

    def _read(self, name: str, folder: Path) -> tuple[str, str]:
        # The first signal interrupts C code when it returns; the parent kills the rest.
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        self._watch.on = True
        try:
            self.targets[name].read(folder)
            return "value", ""
        except LatentFMError as error:
            if _is_memory(error):
                return "memory", _traceback(error)
            return "refused", ""
        except Hang as error:
            return "hang", _traceback(error)
        except MemoryError as error:
            return "memory", _traceback(error)
        except BaseException as error:
            return "exception", _traceback(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise Hang


def _is_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__context__
    return False


def _traceback(error: BaseException) -> str:
    error.__suppress_context__ = False  # "from None" would hide the cause
    return "".join(traceback.format_exception(error))[-2500:]
