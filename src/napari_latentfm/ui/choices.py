"""Choices and bounds that several panels offer, such as that of a model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError, ModelFolderError
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.card import read_card

FOLDER_CHOICE = "Folder…"


def bounds(name: str) -> tuple[int, int]:
    """Return the lowest and highest value that `SamplingConfig` accepts for an integer."""
    limits = SamplingConfig.model_fields[name].metadata
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    high = next(limit.le for limit in limits if hasattr(limit, "le"))
    return low, high


def model_choices() -> list[tuple[str, str]]:
    """Return title and name of each bundled model, followed by the choice of a folder."""
    names = bundled_models()
    titles = [title_of(name) for name in names]
    # A list with two equal texts could not tell the models apart.
    shown = [
        t if titles.count(t) == 1 else f"{t} ({n})" for t, n in zip(titles, names, strict=True)
    ]
    return [*zip(shown, names, strict=True), (FOLDER_CHOICE, FOLDER_CHOICE)]


def model_source(choice: str, folder: str) -> str | Path:
    """Return the model of a choice: the name of a bundled model, or a folder.

    Raises
    ------
    ModelFolderError
        If a folder is chosen and its control is empty.
    """
    if choice != FOLDER_CHOICE:
        return choice
    if not folder.strip():
        raise ModelFolderError(
            "No model folder is given. Choose the folder that latentfm-train wrote, or a bundled "
            "model."
        )
    return Path(folder.strip())


@cache
def title_of(name: str) -> str:
    """Return the title of a bundled model, as the lists of models show it."""
    try:
        return read_card(resolve_model(name)).title or name
    except LatentFMError:
        return name  # a run with this model reports the error
