"""``python -m latentfm_core.adaptation.worker``: adaptation for the GUI in its own process.

Commands are read from stdin and events written to stdout, as lines of JSON; the first command is
a `Start`. The end of stdin ends the process within one training step, so that it also ends when
the GUI is killed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from latentfm_core.adaptation.messages import Event, Start, command_from
from latentfm_core.worker import Send, run_worker

if TYPE_CHECKING:
    from latentfm_core.adaptation.background import Inbox

logger = logging.getLogger(__name__)

NICENESS = 10
"""Lowers the priority: the window and the samples come first."""


def carry_out(start: Start, source: TextIO, emit: Callable[[Event], None]) -> None:
    """Adapt until `source` ends.

    Raises `LatentFMError` as `latentfm_core.adaptation.background.run` does.
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


def work(source: TextIO, send: Send) -> None:
    """Carry out the commands of `source`."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    first = command_from(source.readline())
    if not isinstance(first, Start):
        raise ValueError("the first command must be a start")

    def emit(event: Event) -> None:
        send(event)  # when the reader is gone, stdin ends as well, which ends the loop

    carry_out(first, source, emit)


if __name__ == "__main__":
    run_worker(
        work,
        "Adaptation",
        "Not enough memory to adapt the model. Close other programs.",
    )
