"""Standard streams whose failure never stops a command.

With a closed terminal, a reader that has exited (``| head``) or a full disk behind ``2> log``, only
the output is lost.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_NO_READER = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors of a stream that nobody reads any more."""


class TolerantStream(io.TextIOBase):
    """Forwards text to a stream until a write fails, and drops the rest.

    Parameters
    ----------
    target
        The stream; None, which Python uses for a stream closed before the start, drops
        everything.
    """

    def __init__(self, target: TextIO | None) -> None:
        self._target = target
        self.lost: OSError | ValueError | None = None
        """Reason for dropping text."""

    def write(self, text: str) -> int:
        """Write `text`; return its length even if it is dropped."""
        if self._target is not None and self.lost is None:
            try:
                self._target.write(text)
            except UnicodeEncodeError:
                self._target.write(text.encode("ascii", "backslashreplace").decode())
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self._target is not None and self.lost is None:
            try:
                self._target.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def loss(self) -> str:
        """Return the reason for lost output, once; empty if there was no reader."""
        self.flush()
        lost, self.lost = self.lost, None
        if not isinstance(lost, OSError) or lost.errno in _NO_READER:
            return ""
        return lost.strerror or str(lost)

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with contextlib.suppress(OSError, ValueError):
            return self._target is not None and self.lost is None and self._target.isatty()
        return False

    def fileno(self) -> int:
        """Return the descriptor of the stream; raise `OSError` if it has none."""
        if self._target is None:
            raise OSError("the stream is closed")
        return self._target.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        """Encoding of the stream."""
        return getattr(self._target, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        # For example ``buffer`` and ``reconfigure``.
        return getattr(self.__dict__["_target"], name)

    def _give_up(self, error: OSError | ValueError) -> None:
        self.lost = error
        # Buffered text would fail again when the interpreter exits.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


@contextmanager
def tolerant_streams() -> Iterator[TolerantStream]:
    """Make stdout and stderr tolerant inside the block; yield stdout."""
    before = sys.stdout, sys.stderr
    out, err = TolerantStream(sys.stdout), TolerantStream(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
