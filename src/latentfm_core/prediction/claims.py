"""Share the work on a folder of results between processes with file locks.

A process claims a result with a lock that the operating system releases when the process ends,
however it ends; claims cannot go stale. A mark records that a result was started: with one, files
without the last one are leftovers of a killed process, not the user's own.
"""

from __future__ import annotations

import contextlib
import os
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
from latentfm_core.output.paths import reject_existing
from latentfm_core.torchrun import Launch

FOLDER = ".latentfm-claims"
PAUSE = 0.2
"""Seconds between two checks of results that other processes are working on."""

_TRIES = 20


class Plan(Protocol):
    """A result."""

    @property
    def name(self) -> str:
        """Prefix of its file names."""
        ...

    def paths(self) -> list[Path]:
        """Return its files; the last one is written last."""
        ...


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class Claims:
    """The claims on the results in a folder."""

    folder: Path

    @contextmanager
    def whole_folder(self, launch: Launch) -> Iterator[None]:
        """Lock the folder against other commands inside the block.

        Processes of one launcher share the folder: rank 0 locks it for all.

        Raises
        ------
        FolderBusy
            If another command holds the lock.
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
        """Return whether the block may make a result: no other process is working on it.

        Raises
        ------
        OutputError
            If claims cannot be made there.
        """
        lock = self._acquired(plan)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def begun(self, plan: Plan) -> bool:
        """Return whether a process has started a result and not finished it."""
        return self._mark(plan).exists()

    def begin(self, plan: Plan, overwrite: bool = False) -> None:
        """Mark a claimed result as started; remove what a killed process left of it.

        Parameters
        ----------
        overwrite
            Whether files that are not leftovers of such a process may be replaced.

        Raises
        ------
        OutputError
            If such files exist and may not be replaced, or nothing can be written.
        """
        mark = self._mark(plan)
        if mark.exists():
            for folder in {path.parent for path in plan.paths()}:
                remove_dead(folder)
        elif not overwrite:
            reject_existing(plan.paths())
        try:
            mark.parent.mkdir(exist_ok=True)
            mark.touch()
        except OSError as error:
            raise write_error(mark, error) from None

    def end(self, plan: Plan) -> None:
        """Mark a result as finished, or abandoned."""
        with contextlib.suppress(OSError):
            self._mark(plan).unlink(missing_ok=True)

    def forget(self, finished: Sequence[Plan]) -> None:
        """Remove the marks that killed processes left on results."""
        for plan in finished:
            self.end(plan)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder of claims if it is empty."""
        with contextlib.suppress(OSError):
            (self.folder / FOLDER).rmdir()

    def remove(self) -> None:
        """Remove the claims when every result is complete.

        A process that is still checking creates its claims again, and removes them itself.
        """
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def _mark(self, plan: Plan) -> Path:
        return self.folder / FOLDER / f"{plan.name}.begun"

    def _acquired(self, plan: Plan) -> FileLock | None:
        claims = self.folder / FOLDER
        lock = FileLock(claims / f"{plan.name}.lock", timeout=0)
        with self._errors():
            for _ in range(_TRIES):
                try:
                    claims.mkdir(parents=True, exist_ok=True)
                    lock.acquire()
                except Timeout:
                    return None
                except (FileExistsError, FileNotFoundError):
                    # A process that has finished is removing the folder. Without it, `mkdir` raises
                    # the error of the folder that it has just found.
                    if os.path.lexists(claims) and not claims.is_dir():
                        raise
                    continue
                return lock
        raise OutputError(
            f"The folder {self.folder / FOLDER} keeps disappearing. Choose an --out that "
            "no other program cleans up."
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
    jobs: Sequence[PlanT],
    is_finished: Callable[[PlanT], bool],
    claims: Claims,
    on_passed: Callable[[], object],
) -> Iterator[PlanT]:
    """Yield the jobs for this process, each while it holds the claim on its result.

    Ends when no job is left: waits for jobs of other processes, which are
    done here if those processes end before finishing.

    Parameters
    ----------
    jobs
        All jobs, in the order in which they are tried.
    is_finished
        Called under the claim.
    on_passed
        Called for each job that another process has done.
    """
    left = list(jobs)
    while left:
        busy: list[PlanT] = []
        for job in left:
            with claims.claimed(job) as mine:
                if not mine:
                    busy.append(job)
                    continue
                if is_finished(job):
                    on_passed()
                else:
                    claims.begin(job)
                    yield job
                claims.end(job)
        left = busy
        if left:
            time.sleep(PAUSE)


def alone(jobs: Sequence[PlanT], claims: Claims, overwrite: bool) -> Generator[PlanT, None, None]:
    """Yield all jobs, with marks for the next run in case this one is killed.

    Raises
    ------
    OutputError
        If nothing can be written, also because the folder of the results vanished.
    """
    try:
        for job in jobs:
            claims.begin(job, overwrite)
            try:
                yield job
            except GeneratorExit:
                # Closed after an error. Keep the mark only if files were written.
                if not any(path.exists() for path in job.paths()):
                    claims.end(job)
                raise
            claims.end(job)
    finally:
        claims.remove_if_empty()
