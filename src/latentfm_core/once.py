"""Do something once: log a warning in a process, or give a hint in a list of messages."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable

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

    def listed(self, messages: Iterable[str]) -> str:
        """Return messages as indented lines."""
        return "\n  ".join(map(self.once, messages))
