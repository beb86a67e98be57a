"""Common frame of the worker processes that run long jobs for the GUI.

Input is read from stdin and events are written to stdout, both as lines of JSON.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

from latentfm_core.errors import LatentFMError

logger = logging.getLogger(__name__)

Send = Callable[[str], bool]
"""Writes a line; returns False if its reader is gone."""


def run_worker(
    work: Callable[[TextIO, Send], None], job: str, out_of_memory: str, failed: Callable[[str], str]
) -> NoReturn:
    """Run `work` with stdin and a function that writes lines, and end the process.

    Parameters
    ----------
    job
        Its name in messages, capitalised.
    out_of_memory
        Message for the user if there is not enough memory.
    failed
        Returns the line that reports a message for the user.
    """
    logging.basicConfig(level=logging.WARNING)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # output of other code is not an event

    def send(line: str) -> bool:
        try:
            output.write(line + "\n")
            output.flush()
        except OSError:
            logger.debug("the reader is gone")
            return False
        return True

    try:
        work(sys.stdin, send)
    except Exception as error:
        send(failed(_explained(error, job, out_of_memory)))
    sys.stderr.flush()
    # A thread that reads stdin must not delay the exit.
    os._exit(0)


def _explained(error: Exception, job: str, out_of_memory: str) -> str:
    """Return a message for the user; log bugs with their traceback."""
    from latentfm_core.inference.device import is_out_of_memory

    if isinstance(error, LatentFMError):
        return str(error)
    if is_out_of_memory(error):
        return out_of_memory
    logger.error("%s failed", job, exc_info=error)
    return (
        f"{job} failed because of a bug in napari-latentfm ({type(error).__name__}: {error}). "
        "Please report it, with the details in the log."
    )
