"""Work with known defects, which the crash harness must find."""

from __future__ import annotations

import os
import time
from pathlib import Path

from latentfm_core.files.atomic import write_text
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim

STATES = 12


def _nothing(folder: Path) -> None:
    pass


def _content(state: int) -> str:
    return f"{state}," * 100


def _write_slowly(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.write(text[: len(text) // 2])
        stream.flush()
        time.sleep(0.005)
        stream.write(text[len(text) // 2 :])


def _in_place(folder: Path, reached: Progress) -> int:
    """Overwrite the last state instead of replacing it atomically."""
    while reached.value < STATES:
        _write_slowly(folder / "state.txt", _content(reached.value + 1))
        reached.value += 1
    _write_slowly(folder / "state.txt", _content(STATES))
    return 0


def _too_early(folder: Path, reached: Progress) -> int:
    """Report a state as saved too early."""
    while reached.value < STATES:
        reached.value += 1
        time.sleep(0.003)
        write_text(folder / "state.txt", _content(reached.value))
    write_text(folder / "state.txt", _content(STATES))
    return 0


def _leave_parts(folder: Path, reached: Progress) -> int:
    """Leave temporary files that the next run does not recognise."""
    part = folder / f".latentfm-{os.getpid()}"
    _write_slowly(part, _content(STATES))
    part.replace(folder / "state.txt")
    return 0


def _give_up(folder: Path, reached: Progress) -> int:
    """Refuse to resume work."""
    if (folder / "begun").exists():
        return 2
    (folder / "begun").touch()
    time.sleep(0.02)
    write_text(folder / "state.txt", _content(STATES))
    (folder / "begun").unlink()
    return 0


def _count_starts(folder: Path, reached: Progress) -> int:
    """Produce another result than undisturbed work."""
    reached.value += 1
    time.sleep(0.02)
    write_text(folder / "state.txt", _content(reached.value))
    return 0


def _look(folder: Path, reached: int) -> list[str]:
    path = folder / "state.txt"
    text = path.read_text() if path.exists() else _content(0)
    if text not in {_content(state) for state in range(STATES + 1)}:
        return ["torn"]
    return ["lost"] if int(text.split(",")[0]) < reached else []


def _look_at_nothing(folder: Path, reached: int) -> list[str]:
    return []


def _compare(folder: Path, whole: Path) -> list[str]:
    same = (folder / "state.txt").read_text() == (whole / "state.txt").read_text()
    return [] if same else ["different"]


VICTIMS = {
    "in place": Victim(_nothing, _in_place, _look, _compare),
    "too early": Victim(_nothing, _too_early, _look, _compare),
    "leave parts": Victim(_nothing, _leave_parts, _look_at_nothing, _compare),
    "give up": Victim(_nothing, _give_up, _look_at_nothing, _compare),
    "count starts": Victim(_nothing, _count_starts, _look_at_nothing, _compare),
}
