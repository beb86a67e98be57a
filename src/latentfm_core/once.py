"""Do something once per process, such as log a warning."""

from __future__ import annotations

from collections.abc import Hashable

_DONE: set[tuple[Hashable, ...]] = set()


def first_time(*key: Hashable) -> bool:
    """Return whether this is the first call with `key` in this process.

    A key starts with the name of what is done once: ``first_time("unnamed images", path)``.
    """
    if key in _DONE:
        return False
    _DONE.add(key)
    return True
