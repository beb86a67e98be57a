"""Paths as users type them."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Return a path with a leading ``~`` replaced by the home folder.

    Shells expand ``--out ~/results``, but not ``--out=~/results``, and no shell sees a settings
    file. A folder named ``~`` in the working directory would surprise anyone.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)
