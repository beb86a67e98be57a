"""Models that ship with the package."""

from __future__ import annotations

import logging
import os
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from latentfm_core.config import default_first
from latentfm_core.errors import ModelFolderError
from latentfm_core.files.regular import is_locked
from latentfm_core.files.user_path import user_path
from latentfm_core.model_io.file_names import CARD
from latentfm_core.once import first_time

logger = logging.getLogger(__name__)


def _bundled_folder() -> Path:
    return Path(str(resources.files("latentfm_core"))) / "weights"


def bundled_models() -> list[str]:
    """Return the names of the bundled models, `DEFAULT_MODEL` first."""
    folder = _bundled_folder()
    if not folder.is_dir():
        return []
    return default_first(item.name for item in folder.iterdir() if (item / CARD).is_file())


def is_bundled(folder: Path) -> bool:
    """Return whether a model folder is part of the installed package."""
    return folder.resolve().is_relative_to(_bundled_folder().resolve())


def resolve_model(source: str | Path) -> Path:
    """Turn the name of a bundled model, or a folder, into a model folder.

    Text is a name if there is such a model, a `Path` is always a folder.

    Raises
    ------
    ModelFolderError
        If `source` is neither, or may not be read.
    """
    names = bundled_models()
    if source in names:
        if (Path(source) / CARD).is_file() and first_time("bundled model", source):
            logger.warning(
                "%s means the bundled model. For the model folder of this name, write %s.",
                source,
                os.path.join(os.curdir, source),
            )
        return _bundled_folder() / source
    folder = user_path(source)
    if is_locked(folder):
        raise ModelFolderError(
            f"Cannot read {folder}: no permission to read it. Check its permissions."
        )
    if folder.is_dir():
        return folder
    if folder.is_file() and (folder.parent / CARD).is_file():
        raise ModelFolderError(f"{source} is a file of a model. Give its folder: {folder.parent}")
    known = ", ".join(names) or "none"
    near = get_close_matches(str(source).lower(), names, 1)
    raise ModelFolderError(
        f"{source} is neither a model folder nor a bundled model (bundled: {known}). "
        + (f"Did you mean {near[0]}?" if near else "Check the path.")
    )
