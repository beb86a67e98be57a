"""``python -m latentfm_core.finetuning.worker``: a fine-tuning run for the GUI in its own process.

The request is the first line on stdin; events are written as lines of JSON to stdout. The end of
stdin requests a stop, so that the run also ends, with its checkpoint saved, when the GUI exits.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from latentfm_core.errors import Cancelled, LatentFMError
from latentfm_core.finetuning.messages import Doing, Event, Failed, Stopped, to_line
from latentfm_core.finetuning.request import LearningRequest

logger = logging.getLogger(__name__)


def carry_out(
    request: LearningRequest, emit: Callable[[Event], None], should_stop: Callable[[], bool]
) -> Event:
    """Run the request; return its final event.

    Raises
    ------
    LatentFMError
        If it fails.
    """
    emit(Doing("Starting…"))
    from latentfm_core.finetuning.finetune import FineTune
    from latentfm_core.training.checkpoint import FILE
    from latentfm_core.training.options import RunOptions
    from latentfm_core.training.run_folder import TRAINING

    new = request.action == "learn"
    options = RunOptions(
        out=request.out,
        resume=not new,
        should_stop=should_stop,
        command=f"learned in the window with seed {request.seed}",
        init=request.model if new else None,
        should_stop_reading=should_stop,
        # Images accepted in the GUI while a run is stopped are for the next run.
        changed_data="keep",
    )
    try:
        run = FineTune(request.config() if new else None, options, emit)
    except Cancelled:
        return Stopped((request.out / TRAINING / FILE).is_file())
    verdict = run.finish() if request.action == "finish" else run.run()
    return verdict or Stopped((run.trainer.state.folder / FILE).is_file())


def explain(error: Exception) -> str:
    """Return a message for the user; log bugs with their traceback."""
    from latentfm_core.inference.device import is_out_of_memory

    if isinstance(error, LatentFMError):
        return str(error)
    if is_out_of_memory(error):
        return "Not enough memory to train this model. Close other programs, or train on a GPU."
    logger.error("Learning failed", exc_info=error)
    return (
        f"Learning failed because of a bug in napari-latentfm ({type(error).__name__}: {error}). "
        "The log holds the details; please report them."
    )


def main() -> int:
    """Entry point; return the exit code."""
    logging.basicConfig(level=logging.WARNING)
    source = sys.stdin
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # output of other code is not an event
    stop = threading.Event()

    def emit(event: Event) -> None:
        try:
            output.write(to_line(event) + "\n")
            output.flush()
        except OSError:
            stop.set()  # the reader is gone

    try:
        request = LearningRequest.model_validate_json(source.readline())
        threading.Thread(target=_wait_for_end, args=(source, stop), daemon=True).start()
        emit(carry_out(request, emit, stop.is_set))
    except Exception as error:
        emit(Failed(explain(error)))
    return 0


def _wait_for_end(source: TextIO, stop: threading.Event) -> None:
    source.read()
    stop.set()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The thread that waits for stdin must not delay the exit.
    os._exit(code)
