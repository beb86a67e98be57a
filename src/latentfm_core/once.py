"""Avoid repetition: log a warning once per process, give a hint once per list of messages."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from pathlib import Path

from latentfm_core.names import name_some

_ALIKE = 3
"""Files with the same problem that are described one by one, or named if there are more."""
_NUMBERS = re.compile(r"\d[\d., ]*")
_DONE: set[tuple[Hashable, ...]] = set()


def first_time(*key: Hashable) -> bool:
    """Return whether this is the first call with `key` in this process.

    A key starts with the name of what is done once: ``first_time("unnamed images", path)``.
    """
    if key in _DONE:
        return False
    _DONE.add(key)
    return True


class Hints:
    """Messages such as ``file: what is wrong. What to do.``, with each hint given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def once(self, message: str) -> str:
        """Return a message, without its hint if an earlier one had the same."""
        # The first sentence after the file's name; the name may contain a full stop.
        first = re.match(r".*?: .*?[^.]\.(?= [A-Z])", message, re.DOTALL)
        hint = "" if first is None else message[first.end() :]
        if first is None or hint not in self._given:
            self._given.add(hint)
            return message
        return first[0]

    def listed(self, messages: Iterable[str], most: int | None = None) -> str:
        """Return messages as indented lines, those of many files for one cause in one line.

        Parameters
        ----------
        most
            Lines to return; of more, only their number is added.
        """
        lines = by_cause(messages)
        more = [f"and {len(lines) - most} more"] if most is not None and len(lines) > most else []
        return "\n  ".join([*map(self.once, lines[:most]), *more])


def by_cause(messages: Iterable[str]) -> list[str]:
    """Return messages ``file: what is wrong``, those of many files of a folder in one line.

    Reasons that differ in numbers only, such as sizes, have the same cause; that of the first file
    is an example.
    """
    causes: dict[tuple[Path, str], list[tuple[str, str]]] = {}
    for message in messages:
        file, _, reason = message.partition(": ")
        cause = _NUMBERS.sub("#", reason)
        causes.setdefault((Path(file).parent, cause), []).append((file, reason))
    lines = []
    for (folder, cause), found in causes.items():
        if len(found) <= _ALIKE or not cause:
            lines += [f"{file}: {reason}" if reason else file for file, reason in found]
            continue
        names = name_some((Path(file).name for file, _ in found), _ALIKE)
        differ = ", for example" if len({reason for _, reason in found}) > 1 else ""
        lines.append(f"{len(found)} files in {folder} ({names}){differ}: {found[0][1]}")
    return lines
