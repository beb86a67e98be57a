"""Several processes on one folder of results: each result is made by one of them, wholly.

A process claims a result by a lock that the operating system drops when the process ends,
however it ends; no claim can go stale. A mark tells that a result was begun: where one lies, files
without the last one are what a killed process left, and no user's own.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from latentfm_core.errors import OutputError
from latentfm_core.files.disk_errors import write_error
from latentfm_core.files.locks import one_writer
from latentfm_core.files.temporary import remove_dead
from latentfm_core.output.paths import refuse_existing
from latentfm_core.torchrun import Launch

FOLDER = ".latentfm-claims"
PAUSE = 0.2
"""Seconds between two looks at results that other processes are at work on."""

_TRIES = 20

Job = TypeVar("Job")


class Plan(Protocol):
    """A result."""

    @property
    def name(self) -> str:
        """How the names of its files begin."""
        ...

    def paths(self) -> list[Path]:
        """Return its files; the last one is written last."""
        ...


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
    def whole_folder(self, launch: Launch) -> Iterator[None]:
        """Let no other command write results into the folder during the block.

        Processes of one launcher share the folder: the first of them takes it for all.

        Raises
        ------
        FolderBusy
            If another command has it.
        """
        if not launch.first:
            yield
            return
        advice = (
            "Wait until it has finished, choose another --out, or start both under one torchrun, "
            "so that they share the images."
        )
        with one_writer(self.folder, "writing results to", advice):
            yield

    @contextmanager
    def claimed(self, plan: Plan) -> Iterator[bool]:
        """Return whether the block may make a result: no other process is at it.

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

    def begun(self, plan: Plan) -> bool:
        """Return whether a process has begun a result and has not finished it."""
        return self._mark(plan).exists()

    def begin(self, plan: Plan, overwrite: bool = False) -> None:
        """Note that a claimed result is being made; take away what a killed process left of it.

        Parameters
        ----------
        overwrite
            Whether files that no process of this kind has left may be replaced.

        Raises
        ------
        OutputError
            If such files are there and may not be replaced, or nothing can be written.
        """
        mark = self._mark(plan)
        if mark.exists():
            for folder in {path.parent for path in plan.paths()}:
                remove_dead(folder)
        elif not overwrite:
            refuse_existing(plan.paths())
        try:
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
        except OSError as error:
            raise write_error(mark, error) from None

    def end(self, plan: Plan) -> None:
        """Note that a result is finished, or will not be made."""
        with contextlib.suppress(OSError):
            self._mark(plan).unlink(missing_ok=True)

    def forget(self, finished: Sequence[Plan]) -> None:
        """Remove the marks of results whose process was killed before it could itself."""
        for plan in finished:
            self.end(plan)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Take the folder of claims away, unless there are some."""
        with contextlib.suppress(OSError):
            (self.folder / FOLDER).rmdir()

    def remove(self) -> None:
        """Take the claims away, when every result is there.

        Another process that still looks makes its claims anew, and takes them away itself.
        """
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def _mark(self, plan: Plan) -> Path:
        return self.folder / FOLDER / f"{plan.name}.begun"

    def _acquired(self, plan: Plan) -> FileLock | None:
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
        raise OutputError(
            f"The folder {self.folder / FOLDER} vanishes again and again. Choose an --out that "
            "nothing else clears up."
        )

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
    plan_of: Callable[[Job], Plan],
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


def alone(
    jobs: Sequence[Job], plan_of: Callable[[Job], Plan], claims: Claims, overwrite: bool
) -> Generator[Job, None, None]:
    """Yield all jobs; marks tell the next run which of them was under way, should this one die.

    Raises
    ------
    OutputError
        If nothing can be written, also because the folder of the results vanished.
    """
    try:
        for job in jobs:
            plan = plan_of(job)
            claims.begin(plan, overwrite)
            try:
                yield job
            except GeneratorExit:
                # Closed after an error. The mark stays only where there is something to tell of.
                if not any(path.exists() for path in plan.paths()):
                    claims.end(plan)
                raise
            claims.end(plan)
    finally:
        claims.remove_if_empty()
