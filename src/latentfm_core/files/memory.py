"""How much memory there is, so that a data set that cannot fit is refused before it is read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from latentfm_core.errors import ResourceError

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def total_memory() -> float:
    """Return the bytes that this machine, or its container, has; infinite if unknown."""
    found = float("inf")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        found = min(found, float(_CGROUP.read_text()))  # "max" where there is no limit
    return found


def check_memory(needed: float, what: str, advice: str) -> None:
    """Refuse what does not fit into memory at all.

    The system hands out more memory than it has, and ends the process when it is used.

    Raises
    ------
    ResourceError
        If it does not.
    """
    there = total_memory()
    if needed > there:
        raise ResourceError(
            f"{what} need {needed / 2**30:,.1f} GB of memory, and there are {there / 2**30:,.1f} "
            f"GB. {advice}"
        )
