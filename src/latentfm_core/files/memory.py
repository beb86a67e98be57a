"""Check available memory before reading a data set."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from latentfm_core.errors import ResourceError

_CGROUP = Path("/sys/fs/cgroup/memory.max")


def total_memory() -> float:
    """Return the memory of this machine or container in bytes; infinite if unknown."""
    available = float("inf")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        available = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        available = min(available, float(_CGROUP.read_text()))  # "max" if there is no limit
    return available


def check_memory(needed: float, what: str, advice: str) -> None:
    """Reject work that cannot fit into memory.

    The system overcommits memory, and kills the process when it is used.

    Raises
    ------
    ResourceError
        If it does not fit.
    """
    there = total_memory()
    if needed > there:
        raise ResourceError(
            f"{what} need {needed / 2**30:,.1f} GB of memory, but the machine has only "
            f"{there / 2**30:,.1f} GB. {advice}"
        )
