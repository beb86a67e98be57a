"""Two processes that write to one place at the same time, of which one is killed."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentfm_core.worklist.state import WorkList
from robustness.crash.fixtures import write_images, write_model
from robustness.crash.predictions import compare, look, predict
from robustness.crash.process import CRASHED, Told
from robustness.crash.rounds import Victim

STATES = 25
OTHER = "2"
"""Seed of both predictions."""
REFUSED = 2


@contextmanager
def _second(work: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Do `work` in a second process meanwhile; yield what waits for its exit code."""
    child = os.fork()
    if child == 0:
        code = CRASHED
        try:
            _end_with_parent()
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    yield lambda: _exit_code(child)


def _exit_code(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)  # the moment came in the second process
    return code


def _end_with_parent() -> None:
    """Be killed when the first process is (Linux), which is what ends both at one moment."""
    if sys.platform == "linux":
        import ctypes

        pdeathsig = 1
        ctypes.CDLL(None).prctl(pdeathsig, signal.SIGKILL)


def _note(folder: Path, place: int, told: Told, attribute: str) -> int:
    """Count an image of the list up to `STATES`, from where it was told to be."""
    work = WorkList(folder / "images")
    name = work.names[place]
    while getattr(told, attribute) < STATES:
        state = getattr(told, attribute) + 1
        work.update(name, state="in progress", seconds=state)
        setattr(told, attribute, state)
    work.update(name, state="completed")
    return 0


def _work_lists(folder: Path, told: Told) -> int:
    with _second(lambda: _note(folder, 1, told, "second")) as ended:
        _note(folder, 0, told, "value")
        return ended()


def _look_at_list(folder: Path, told: int) -> list[str]:
    work = WorkList(folder / "images")
    if work.warning:
        return [work.warning]
    seconds = work.item(work.names[0]).seconds
    return [f"state {told} was noted, and the list knows {seconds}"] if seconds < told else []


def _compare_lists(folder: Path, whole: Path) -> list[str]:
    work = WorkList(folder / "images")
    found = [
        f"{name} is {item.state} with {item.seconds} of {STATES} states"
        for name, item in work.items().items()
        if (item.state, item.seconds) != ("completed", STATES)
    ]
    return [*found, *([work.warning] if work.warning else [])]


def _images(folder: Path) -> None:
    write_images(folder, 2)


def _prepare(folder: Path) -> None:
    write_images(folder, 3, (80, 96))
    write_model(folder)


def _predictions(folder: Path, told: Told) -> int:
    def other() -> int:
        return predict(folder, OTHER, False, "--skip-done")

    with _second(other) as ended:
        codes = {other(), ended()}
    # One is refused, or comes when the first has finished and finds nothing left to do.
    return 0 if codes <= {0, REFUSED} and 0 in codes else max(codes)


TWO_LISTS = Victim(_images, _work_lists, _look_at_list, _compare_lists, share=2)
TWO_PREDICTIONS = Victim(_prepare, _predictions, look, compare, share=2)
