"""Common frame of the worker processes that run long jobs for the GUI.

Input is read from stdin and events are written to stdout, both as lines of JSON. Without PyTorch,
so that the GUI can import it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Literal, NoReturn, TextIO

from pydantic import ConfigDict

from latentfm_core.config import Settings
from latentfm_core.errors import LatentFMError

logger = logging.getLogger(__name__)


class Message(Settings):
    """A command to a worker process, or an event from it."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    def to_line(self) -> str:
        """Return the message as one line of JSON, without a newline."""
        return self.model_dump_json()


class Failed(Message):
    """The job has ended with an error for the user."""

    kind: Literal["failed"] = "failed"
    message: str


Send = Callable[[Message], bool]
"""Writes an event; returns False if its reader is gone."""


def run_worker(work: Callable[[TextIO, Send], None], job: str, out_of_memory: str) -> NoReturn:
    """Run `work` with stdin and a function that writes events, and end the process.

    Parameters
    ----------
    job
        Its name in messages, capitalised.
    out_of_memory
        Message for the user if there is not enough memory.
    """
    logging.basicConfig(level=logging.WARNING)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # output of other code is not an event

    def send(event: Message) -> bool:
        try:
            output.write(event.to_line() + "\n")
            output.flush()
        except OSError:
            logger.debug("the reader is gone")
            return False
        return True

    try:
        work(sys.stdin, send)
    except Exception as error:
        send(Failed(message=_explained(error, job, out_of_memory)))
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
