"""Optional outputs: logs, pictures, reports."""

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
    """Log a warning and continue if the block cannot write `path`.

    The first failure in a folder is a warning, later ones are logged at a lower level.
    """
    try:
        yield
    except Cancelled:
        raise
    except Exception as error:
        folder = path.parent.absolute()
        level = logging.DEBUG if folder in _WARNED else logging.WARNING
        _WARNED.add(folder)
        logger.log(level, "%s was not written: %s Work continues.", path, error)
