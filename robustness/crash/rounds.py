"""Rounds: kill a job several times, restart it each time, and finally let it finish."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.files.temporary import PREFIX
from robustness.crash.kill_points import Course
from robustness.crash.process import Ending, Progress, Work, ask, run, warm

UNDER_WAY = "under way"
"""Prefix of findings about temporary files that were not removed."""


@dataclass(frozen=True)
class Victim:
    """A job to be killed.

    Attributes
    ----------
    prepare
        Creates the input of the job in an empty folder.
    work
        The job that a user starts, and restarts after a kill; returns an exit code. It sets the
        given counter to its last finished state.
    look
        Returns the problems in the folder of a killed job, given its last finished
        state: truncated files, lost states.
    compare
        Returns the problems in the folder (first) of a job that was killed and then
        finished, compared with that of an undisturbed one.
    most
        Maximum number of kills in one round.
    share
        Of the kills, in proportion.
    """

    prepare: Callable[[Path], None]
    work: Work
    look: Callable[[Path, int], list[str]]
    compare: Callable[[Path, Path], list[str]]
    most: int = 4
    share: int = 1


@dataclass
class Tally:
    """Results for a victim."""

    kills: int = 0
    steered: int = 0
    rounds: int = 0
    findings: list[str] = field(default_factory=list)


class Rounds:
    """The rounds of one victim.

    Parameters
    ----------
    victim
        The victim.
    folder
        An empty folder.
    rng
        Source of all moments; those by time also depend on the machine.
    steered
        Share of the kills that are chosen by file operations.
    """

    def __init__(self, victim: Victim, folder: Path, rng: random.Random, steered: float) -> None:
        self.tally = Tally()
        self._victim, self._folder, self._rng, self._steered = victim, folder, rng, steered
        self._log = folder / "log.txt"
        self._whole = self._begin("whole")
        ending = self._undisturbed(self._whole)
        warm(ending.modules)
        if steered < 1:  # again, for its time without imports
            ending = self._undisturbed(self._begin("again"))
        self._course: Course = ending.course

    def run(self, kills: int) -> Tally:
        """Kill `kills` times."""
        number = 0
        while self.tally.kills < kills:
            number += 1
            case = self._begin(f"case{number}")
            left = min(kills - self.tally.kills, self._rng.randint(1, self._victim.most))
            found = self._round(case, left)
            self.tally.findings += [f"round {number}: {each}" for each in found]
            self.tally.rounds += 1
            shutil.rmtree(case)
        return self.tally

    def _undisturbed(self, folder: Path) -> Ending:
        ending = run(self._victim.work, folder, Progress(), self._log)
        if ending.how != "done":
            raise RuntimeError(f"Undisturbed job failed:\n{ending.said}")
        return ending

    def _begin(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        ask(lambda: self._victim.prepare(folder), self._log)
        return folder

    def _round(self, case: Path, kills: int) -> list[str]:
        reached = Progress()
        for _ in range(kills):
            moment = self._course.draw(self._rng, self._steered)
            ending = run(self._victim.work, case, reached, self._log, moment)
            if ending.how == "failed":
                return [f"fails after a restart: {ending.said}"]
            if ending.how == "done":
                break  # it finished before the chosen moment
            self.tally.kills += 1
            self.tally.steered += moment.touch is not None
            found: list[str] = ask(lambda: self._victim.look(case, reached.value), self._log)
            if found:
                return [f"killed at {moment}: {each}" for each in found]
        ending = run(self._victim.work, case, reached, self._log)
        if ending.how != "done":
            return [f"fails after a restart: {ending.said}"]
        compared: list[str] = ask(lambda: self._victim.compare(case, self._whole), self._log)
        return compared + _under_way(case)


def _under_way(folder: Path) -> list[str]:
    """Return the temporary files and marks that a finished job left behind."""
    return [
        f"{UNDER_WAY} still: {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*"))
        if path.name.startswith(PREFIX)
    ]
