"""``python -m latentfm_core.adaptation.worker``: adaptation for the GUI in its own process.

Commands are read from stdin and events written to stdout, as lines of JSON; the first command is
a `Start`. The end of stdin ends the process within one training step, so that it also ends when
the GUI is killed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from latentfm_core.adaptation.messages import (
    Event,
    Failed,
    Start,
    command_from,
    to_line,
)
from latentfm_core.errors import LatentFMError

if TYPE_CHECKING:
    from latentfm_core.adaptation.background import Inbox

logger = logging.getLogger(__name__)

NICENESS = 10
"""Lowers the priority: the window and the samples come first."""


def carry_out(start: Start, source: TextIO, emit: Callable[[Event], None]) -> None:
    """Adapt until `source` ends.

    Raises
    ------
    LatentFMError
        As `latentfm_core.adaptation.background.run` does.
    """
    import torch

    from latentfm_core.adaptation.background import Inbox, run

    torch.set_num_threads(1)
    inbox = Inbox()
    threading.Thread(target=_listen, args=(source, inbox), daemon=True).start()
    run(start, inbox, emit)


def _listen(source: TextIO, inbox: Inbox) -> None:
    for line in source:
        try:
            inbox.put(command_from(line))
        except ValueError:
            logger.warning("not a command: %s", line[:200])
    inbox.stop()


def explain(error: Exception) -> str:
    """Return a message for the user; log bugs with their traceback."""
    from latentfm_core.inference.device import is_out_of_memory

    if isinstance(error, LatentFMError):
        return str(error)
    if is_out_of_memory(error):
        return "Not enough memory to adapt the model. Close other programs."
    logger.error("Adaptation failed", exc_info=error)
    return (
        f"Adaptation failed because of a bug in napari-latentfm ({type(error).__name__}: {error}). "
        "The log holds the details; please report them."
    )


def main() -> int:
    """Entry point; return the exit code."""
    logging.basicConfig(level=logging.WARNING)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    source = sys.stdin
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # output of other code is not an event

    def emit(event: Event) -> None:
        try:
            output.write(to_line(event) + "\n")
            output.flush()
        except OSError:
            logger.debug("the reader is gone")  # stdin ends as well, which ends the loop

    try:
        first = command_from(source.readline())
        if not isinstance(first, Start):
            raise ValueError("the first command must be a start")
        carry_out(first, source, emit)
    except Exception as error:
        emit(Failed(message=explain(error)))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The thread that reads stdin must not delay the exit.
    os._exit(code)
