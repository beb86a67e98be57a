"""Progress bars for terminals, files and pipes."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

TERMINAL_SECONDS = 0.1
FILE_SECONDS = 30.0
"""Minimum time between two updates of a bar in a file or pipe."""


class _Lines(tqdm):  # type: ignore[type-arg]  # not generic at run time
    """Bar for files and pipes: one line every half minute, and one at the end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._last_line = time.monotonic()
        self._closing = False
        super().__init__(*args, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, unless the last one is recent."""
        if self._closing:
            self.fp.write(str(self))  # tqdm ends the line
        elif time.monotonic() - self._last_line >= FILE_SECONDS:
            self._last_line = time.monotonic()
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: printed lines cannot be cleared."""

    def close(self) -> None:
        """Write the last state."""
        self._closing = True
        super().close()


def progress_bar(
    total: int, what: str, unit: str, quiet: bool = False, *, initial: int = 0
) -> tqdm[Any]:
    """Return a progress bar on stderr.

    Parameters
    ----------
    total, what, unit
        Number of steps, title of the bar, and unit of one step.
    """
    shown = sys.stderr
    terminal = shown is not None and shown.isatty()
    kind: type[tqdm[Any]] = tqdm if terminal else _Lines
    return kind(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        file=shown,
        mininterval=TERMINAL_SECONDS if terminal else FILE_SECONDS,
        disable=quiet or shown is None,
    )


def is_quiet(logger: logging.Logger) -> bool:
    """Return whether `logger` drops INFO messages, as with ``--quiet``."""
    return not logger.isEnabledFor(logging.INFO)
