"""``python -m latentfm_core.finetuning.worker``: a fine-tuning run for the GUI in its own process.

The request is the first line on stdin; events are written as lines of JSON to stdout. The end of
stdin requests a stop, so that the run also ends, with its checkpoint saved, when the GUI exits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TextIO

from latentfm_core.errors import Cancelled
from latentfm_core.finetuning.messages import Doing, Event, Stopped
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.worker import Send, run_worker


def carry_out(
    request: LearningRequest, emit: Callable[[Event], None], should_stop: Callable[[], bool]
) -> Event:
    """Run the request; return its final event.

    Raises
    ------
    LatentFMError
        If it fails.
    """
    emit(Doing(text="Starting…"))
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
        return Stopped(resumable=(request.out / TRAINING / FILE).is_file())
    verdict = run.finish() if request.action == "finish" else run.run()
    return verdict or Stopped(resumable=(run.trainer.state.folder / FILE).is_file())


def work(source: TextIO, send: Send) -> None:
    """Carry out the request in the first line of `source`; its end requests a stop."""
    stop = threading.Event()

    def emit(event: Event) -> None:
        if not send(event):
            stop.set()

    request = LearningRequest.model_validate_json(source.readline())
    threading.Thread(target=_wait_for_end, args=(source, stop), daemon=True).start()
    emit(carry_out(request, emit, stop.is_set))


def _wait_for_end(source: TextIO, stop: threading.Event) -> None:
    source.read()
    stop.set()


if __name__ == "__main__":
    run_worker(
        work,
        "Learning",
        "Not enough memory to train this model. Close other programs, or train on a GPU.",
    )
