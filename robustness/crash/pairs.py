"""Two processes that write to the same place, one of which is killed."""

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
from robustness.crash.process import CRASHED, Progress
from robustness.crash.rounds import Victim

STATES = 25
OTHER = "2"
"""Seed of both predictions."""
REFUSED = 2


@contextmanager
def _second(work: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Run `work` in a second process; yield a function that waits for its exit code."""
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
        os.kill(os.getpid(), signal.SIGKILL)  # the second process reached the moment
    return code


def _end_with_parent() -> None:
    """Die with the first process (Linux), so that both end at the same moment."""
    if sys.platform == "linux":
        import ctypes

        pdeathsig = 1
        ctypes.CDLL(None).prctl(pdeathsig, signal.SIGKILL)


def _note(folder: Path, place: int, reached: Progress, attribute: str) -> int:
    """Count an image of the list up to `STATES`, from its last saved state."""
    work = WorkList(folder / "images")
    name = work.names[place]
    while getattr(reached, attribute) < STATES:
        state = getattr(reached, attribute) + 1
        work.update(name, state="in progress", seconds=state)
        setattr(reached, attribute, state)
    work.update(name, state="completed")
    return 0


def _work_lists(folder: Path, reached: Progress) -> int:
    with _second(lambda: _note(folder, 1, reached, "second")) as ended:
        _note(folder, 0, reached, "value")
        return ended()


def _look_at_list(folder: Path, reached: int) -> list[str]:
    work = WorkList(folder / "images")
    if work.warning:
        return [work.warning]
    seconds = work.item(work.names[0]).seconds
    return [f"state {reached} was noted, and the list knows {seconds}"] if seconds < reached else []


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


def _predictions(folder: Path, reached: Progress) -> int:
    def other() -> int:
        return predict(folder, OTHER, False, "--skip-done")

    with _second(other) as ended:
        codes = {other(), ended()}
    # One is rejected, or starts after the first has finished and has nothing to do.
    return 0 if codes <= {0, REFUSED} and 0 in codes else max(codes)


TWO_LISTS = Victim(_images, _work_lists, _look_at_list, _compare_lists, share=2)
TWO_PREDICTIONS = Victim(_prepare, _predictions, look, compare, share=2)
