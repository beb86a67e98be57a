"""Files and folders under way: their names, and how those of dead processes are known.

What is being written has a name that no user gives, beside its final name. While it is written
its process holds a lock (``flock``) on it, which the operating system drops when the process
ends, however it ends. A part without a lock was left by a dead process and may be removed at
any time, by anybody. Where there are no such locks (Windows, some network disks), its age tells.
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

try:
    import fcntl
except ImportError:  # Windows
    _FCNTL = None
else:
    _FCNTL = fcntl

PREFIX = ".latentfm-"
OLD = "old-"
"""Begins, after the prefix, what tells of a folder that is just being replaced."""
STALE_SECONDS = 600.0
"""Age from which on a part is dead where there are no locks."""

_LONGEST = 200
_NAME = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}-(?P<final>.*)", re.DOTALL)
_SEEN: set[Path] = set()


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Make an empty file beside `final`, locked until the end of the block; it is not removed.

    It has the suffix of `final`, because image writers choose the format by it.
    """
    descriptor, path = _made(final)
    # Windows renames no file that is open.
    if _FCNTL is None:
        os.close(descriptor)
        yield path
        return
    try:
        yield path
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Make an empty folder beside `final`, locked until the end of the block; not removed."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=_told(final), dir=final.parent))
        with held(path) as mine:
            if mine:
                yield path
                return


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder; tell whether it is held, or nobody could hold it."""
    if _FCNTL is None:
        yield True
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _lock(descriptor) is not False and os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def old_name(part: Path, final: Path) -> Path:
    """Return the name of what a finished `part` replaces, for the moment between two renames."""
    token = part.name[len(PREFIX) : len(PREFIX) + 8]
    return part.with_name(f"{PREFIX}{token}-{OLD}{final.name}")


def remove_dead_once(folder: Path) -> None:
    """Do `remove_dead` the first time that this process writes into a folder.

    Large folders of results are then listed once, not for every file.
    """
    key = Path(os.path.abspath(folder))
    if key not in _SEEN:
        _SEEN.add(key)
        remove_dead(folder)


def remove_dead(folder: Path) -> None:
    """Remove what dead processes left under way in a folder; those at work are left alone.

    A folder that a process had put aside to replace it, and was killed before it could, gets
    its name back.
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
        return  # not ours, whatever it is called
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)) if _FCNTL else -1
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
        made = tempfile.mkstemp(prefix=PREFIX, suffix=_told(final), dir=final.parent)
        descriptor, path = made[0], Path(made[1])
        # In the moment before it is locked another process may have taken it for dead.
        if _FCNTL is None or (_lock(descriptor) is not False and os.fstat(descriptor).st_nlink):
            return descriptor, path
        os.close(descriptor)


def _told(final: Path) -> str:
    # A name that fits by itself may be too long with more in front.
    return f"-{final.name if len(os.fsencode(final.name)) <= _LONGEST else final.suffix}"


def _lock(descriptor: int) -> bool | None:
    """Return whether the lock was free and is held now; None where there are no locks."""
    if _FCNTL is None:
        return None
    try:
        _FCNTL.flock(descriptor, _FCNTL.LOCK_EX | _FCNTL.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
