"""Outputs that work can do without: logs, pictures, reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentfm_core.errors import Cancelled

logger = logging.getLogger(__name__)

_WARNED: set[Path] = set()


@contextmanager
def not_essential(path: Path) -> Iterator[None]:
    """Go on with the work, and warn, if the block cannot write `path`.

    The first failure in a folder is a warning, later ones are details.
    """
    try:
        yield
    except Cancelled:
        raise
    except Exception as error:
        folder = path.parent.absolute()
        level = logging.DEBUG if folder in _WARNED else logging.WARNING
        _WARNED.add(folder)
        logger.log(level, "%s was not written: %s The work goes on.", path, error)
