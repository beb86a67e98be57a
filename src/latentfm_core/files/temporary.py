"""Temporary files: naming, locking, and cleanup after killed processes.

Temporary files have a reserved prefix and are in the folder of the final name. The writing process
holds a lock (``flock``), which the operating system releases when the process ends. A temporary
file without a lock was left by a dead process and may be removed at any time. Without such locks
(Windows, some network disks), its age decides.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentfm_core.once import first_time

try:
    import fcntl
except ImportError:  # Windows
    FCNTL = None
else:
    FCNTL = fcntl
"""Locks of files; None if the system has none of this kind."""

PREFIX = ".latentfm-"
OLD = "old-"
"""Marks, after the prefix, a folder being replaced."""
STALE_SECONDS = 600.0
"""Minimum age of an abandoned temporary file without locks."""

_LONGEST = 200
_NAME = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}-(?P<final>.*)", re.DOTALL)


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Create an empty file next to `final`, locked until the end of the block; not removed.

    It has the suffix of `final`, by which image writers choose the format.
    """
    descriptor, path = _made(final)
    # Windows cannot rename an open file.
    if FCNTL is None:
        os.close(descriptor)
        yield path
        return
    try:
        yield path
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Create an empty folder next to `final`, locked until the end of the block; not removed."""
    mine = False
    with contextlib.ExitStack() as stack:
        # Before it was locked, another process may have removed it as abandoned.
        while not mine:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=_suffix(final), dir=final.parent))
            with contextlib.suppress(FileNotFoundError):
                mine = stack.enter_context(held(path))
        yield path


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder; yield whether it is held, or locks are unavailable."""
    if FCNTL is None:
        yield True
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _lock(descriptor) is not False and os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def old_name(part: Path, final: Path) -> Path:
    """Return the temporary name of the folder that a finished `part` replaces."""
    token = part.name[len(PREFIX) : len(PREFIX) + 8]
    return part.with_name(f"{PREFIX}{token}-{OLD}{final.name}")


def remove_dead_once(folder: Path) -> None:
    """Call `remove_dead` the first time this process writes into a folder.

    Large result folders are thus listed once, not for every file.
    """
    if first_time("remove_dead", os.path.abspath(folder)):
        remove_dead(folder)


def remove_dead(folder: Path) -> None:
    """Remove temporary files of dead processes in a folder; keep those of running ones.

    A folder that a killed process had moved aside to replace it is restored.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry.name for entry in entries]:
            found = _NAME.fullmatch(entry)
            if found is not None:
                with contextlib.suppress(OSError):
                    _remove_if_dead(folder / entry, found["final"])


def _remove_if_dead(path: Path, final: str) -> None:
    kind = os.lstat(path)
    if stat.S_ISLNK(kind.st_mode):
        return  # not ours, despite its name
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)) if FCNTL else -1
    try:
        free = _lock(descriptor) if descriptor >= 0 else None
        old = time.time() - kind.st_mtime > STALE_SECONDS
        if not (old if free is None else free):
            return
        replaced = path.with_name(final.removeprefix(OLD))
        if final.startswith(OLD) and not os.path.lexists(replaced):
            path.rename(replaced)
        elif stat.S_ISDIR(kind.st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _made(final: Path) -> tuple[int, Path]:
    while True:
        made = tempfile.mkstemp(prefix=PREFIX, suffix=_suffix(final), dir=final.parent)
        descriptor, path = made[0], Path(made[1])
        # Before it was locked, another process may have removed it as abandoned.
        if FCNTL is None or (_lock(descriptor) is not False and os.fstat(descriptor).st_nlink):
            return descriptor, path
        os.close(descriptor)


def _suffix(final: Path) -> str:
    # A valid name may be too long with the prefix.
    return f"-{final.name if len(os.fsencode(final.name)) <= _LONGEST else final.suffix}"


def _lock(descriptor: int) -> bool | None:
    """Return whether the lock was acquired; None if there are no locks."""
    if FCNTL is None:
        return None
    try:
        FCNTL.flock(descriptor, FCNTL.LOCK_EX | FCNTL.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
