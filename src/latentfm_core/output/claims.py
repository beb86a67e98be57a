"""Several processes on one folder of results: each result is made by one of them, wholly.

A process claims a result by a lock that the operating system drops when the process ends,
however it ends; no claim can go stale.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from latentfm_core.errors import OutputError
from latentfm_core.output.names import refuse_existing
from latentfm_core.output.result import ResultPlan
from latentfm_core.store.atomic import remove_leftovers

FOLDER = ".latentfm-claims"
PAUSE = 0.2
"""Seconds between two looks at results that other processes are at work on."""

_TRIES = 20

Job = TypeVar("Job")


@dataclass(frozen=True)
class Claims:
    """The claims on the results in a folder.

    Attributes
    ----------
    folder
        Folder of the results; the claims lie in a hidden folder inside it.
    """

    folder: Path

    @contextmanager
    def claimed(self, plan: ResultPlan) -> Iterator[bool]:
        """Tell whether the block may make a result: no other process is at it.

        Raises
        ------
        OutputError
            If no claims can be made there.
        """
        lock = self._acquired(plan)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def begin(self, plan: ResultPlan) -> None:
        """Note that a claimed result is being made; take away what a killed process left of it.

        Raises
        ------
        OutputError
            If files of the result are there, but no process of this kind has left them.
        """
        mark = self._mark(plan)
        if mark.exists():
            for path in plan.paths():
                remove_leftovers(path)
        else:
            refuse_existing(plan.paths())
        with self._errors():
            mark.touch()

    def end(self, plan: ResultPlan) -> None:
        """Note that a result is finished."""
        self._mark(plan).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the claims away, when every result is there.

        Another process that still looks makes its claims anew, and takes them away itself.
        """
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def _mark(self, plan: ResultPlan) -> Path:
        return self.folder / FOLDER / f"{plan.name}.begun"

    def _acquired(self, plan: ResultPlan) -> FileLock | None:
        lock = FileLock(self.folder / FOLDER / f"{plan.name}.lock", timeout=0)
        with self._errors():
            for _ in range(_TRIES):
                try:
                    (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
                    lock.acquire()
                except Timeout:
                    return None
                except FileNotFoundError:
                    continue  # a process that has finished takes the folder away just now
                return lock
        raise OutputError(f"The folder {self.folder / FOLDER} vanishes again and again.")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"Cannot claim results in {self.folder}: {error.strerror or error}. Several "
                "processes need a folder with file locks that all of them can write to."
            ) from None


def shared(
    jobs: Sequence[Job],
    plan_of: Callable[[Job], ResultPlan],
    is_finished: Callable[[Job], bool],
    claims: Claims,
    on_passed: Callable[[], object],
) -> Iterator[Job]:
    """Yield the jobs that this process shall do, each while it has claimed its result.

    The end is reached when no job is left: what other processes are at is waited for, and
    done here should they end before it is finished.

    Parameters
    ----------
    jobs
        All jobs, in the order in which they are tried.
    is_finished
        Asked under the claim.
    on_passed
        Called for each job that turns out to be done by another process.
    """
    left = list(jobs)
    while left:
        busy: list[Job] = []
        for job in left:
            plan = plan_of(job)
            with claims.claimed(plan) as mine:
                if not mine:
                    busy.append(job)
                    continue
                if is_finished(job):
                    on_passed()
                else:
                    claims.begin(plan)
                    yield job
                claims.end(plan)
        left = busy
        if left:
            time.sleep(PAUSE)
