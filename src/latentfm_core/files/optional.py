"""Optional outputs and packages: logs, pictures, reports, formats."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from latentfm_core.errors import Cancelled, OutputError
from latentfm_core.once import first_time

logger = logging.getLogger(__name__)


@contextmanager
def best_effort(path: Path) -> Iterator[None]:
    """Log a warning and continue if the block cannot write `path`.

    The first failure in a folder is a warning, later ones are logged at a lower level.
    """
    try:
        yield
    except Cancelled:
        raise
    except Exception as error:
        folder = path.parent.absolute()
        level = logging.WARNING if first_time("not written", folder) else logging.DEBUG
        logger.log(level, "%s was not written: %s Work continues.", path, error)


def optional_package(name: str, advice: str) -> ModuleType:
    """Import a package that a plain installation does not have, and return it.

    Parameters
    ----------
    name
        The package, or a module of it that must be imported.
    advice
        What needs the package, and what else to do.

    Raises
    ------
    OutputError
        If it is not installed; the message is the advice.
    """
    try:
        package = importlib.import_module(name.partition(".")[0])
        importlib.import_module(name)
    except ImportError:
        raise OutputError(advice) from None
    return package
