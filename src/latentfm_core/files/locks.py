"""Folder locks, released by the operating system when their process ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from latentfm_core.errors import FolderBusy, OutputError
from latentfm_core.files.disk_errors import write_error
from latentfm_core.files.regular import open_regular
from latentfm_core.files.temporary import FCNTL

logger = logging.getLogger(__name__)

NAME = ".latentfm-lock"
"""Name of the lock file of a folder. Removed on release; after a kill it remains, unlocked."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_PAUSE = 0.02
_MAX_OWNER = 200


class FolderLock:
    """Exclusive write lock of a folder.

    The lock file contains the process ID and host of its owner, for messages.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.path = folder / name
        self._descriptor: int | None = None
        self._other: FileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None or self._other is not None

    def acquire(self, patience: float = 0.0) -> bool:
        """Acquire the lock; return False if another process holds it.

        Parameters
        ----------
        patience
            Seconds to wait for it.

        Raises
        ------
        OutputError
            If the lock file cannot be created.
        """
        if self.held:
            return True
        end = time.monotonic() + patience
        while True:
            try:
                taken = self._try()
            except OSError as error:
                raise write_error(self.path, error) from None
            if taken or time.monotonic() >= end:
                return taken
            time.sleep(_PAUSE)

    def release(self) -> None:
        """Release the lock, if held."""
        if self._descriptor is not None:
            # Removed while held: a process waiting for this file notices (see `_try`).
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None
        if self._other is not None:
            self._other.release()
            self._other = None
            with contextlib.suppress(OSError):
                self.path.unlink()

    def owner(self) -> str:
        """Return who holds the lock, such as ``process 123 on host``; empty if unknown."""
        try:
            with open_regular(self.path) as stream:
                return " ".join(stream.read(_MAX_OWNER).decode(errors="replace").split())
        except OSError:
            return ""

    def _try(self) -> bool:
        if FCNTL is None:
            return self._try_elsewhere()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o666)
        try:
            FCNTL.flock(descriptor, FCNTL.LOCK_EX | FCNTL.LOCK_NB)
            if not self._is_current(descriptor):
                os.close(descriptor)  # its last owner has removed it
                return False
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            logger.debug("%s: this file system has no locks", self.path)
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError:  # such as a full disk
            self.release()
            raise
        return True

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        mine = os.fstat(descriptor)
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)

    def _try_elsewhere(self) -> bool:
        lock = FileLock(self.path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._other = lock
        return True


@contextmanager
def one_writer(
    folder: Path, doing: str, advice: str, name: str = NAME, patience: float = 0.2
) -> Iterator[None]:
    """Hold the lock of `folder` inside the block.

    Parameters
    ----------
    doing
        What another process is doing there, such as ``writing results to``.
    advice
        Remedy, as full sentences.
    patience
        Seconds to wait for the lock.

    Raises
    ------
    FolderBusy
        If another process holds the lock.
    OutputError
        If the lock file cannot be created.
    """
    lock = FolderLock(folder, name)
    if not lock.acquire(patience):
        raise busy(lock, doing, advice)
    try:
        yield
    finally:
        lock.release()


def remove_abandoned(folder: Path) -> None:
    """Remove the lock file that a killed process left in a folder which is not used again."""
    lock = FolderLock(folder)
    with contextlib.suppress(OutputError):  # such as a folder that cannot be written
        if lock.path.exists() and lock.acquire():
            lock.release()


def busy(lock: FolderLock, doing: str, advice: str) -> FolderBusy:
    """Return the error for a folder that another process is writing to."""
    owner = lock.owner()
    who = f" ({owner})" if owner else ""
    return FolderBusy(f"Another process{who} is {doing} {lock.path.parent}. {advice}")
