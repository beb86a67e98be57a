"""Open regular files only.

Opening a named pipe waits for a writer, reading a terminal or device may never end, and opening
a device may change it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_BINARY = getattr(os, "O_BINARY", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(OSError):
    """A path is a folder, pipe, socket or device instead of a file."""

    def __str__(self) -> str:
        return str(self.strerror)


def other_kind(path: Path) -> str:
    """Return what a path is instead of a file, such as ``"a named pipe"``.

    Empty for files, missing paths and broken links.
    """
    try:
        return _named(path.stat().st_mode)
    except (OSError, ValueError):
        return ""


def is_locked(path: Path) -> bool:
    """Return whether a folder exists whose files this user may not list and open."""
    return path.is_dir() and not os.access(path, os.R_OK | os.X_OK)


def _named(mode: int) -> str:
    return next((kind for check, kind in _KINDS if check(mode)), "")


def check_regular(path: Path) -> None:
    """Raise `NotRegularError` for a folder, pipe, socket or device; a missing path passes."""
    kind = other_kind(path)
    if kind:
        raise NotRegularError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; never waits.

    Raises
    ------
    OSError
        If it cannot be opened.
    NotRegularError
        If it is a folder, pipe, socket or device.
    """
    check_regular(path)
    # Without O_NONBLOCK, a pipe that has taken its place meanwhile waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise NotRegularError(errno.EINVAL, "it is not a file", str(path))
    return stream
