"""What the controls of several panels offer."""

from __future__ import annotations

from functools import cache

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.card import read_card

FOLDER_CHOICE = "Folder…"


def bounds(name: str) -> tuple[int, int]:
    """Return the lowest and highest value that `SamplingConfig` takes for an integer."""
    limits = SamplingConfig.model_fields[name].metadata
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    high = next(limit.le for limit in limits if hasattr(limit, "le"))
    return low, high


def model_choices() -> list[tuple[str, str]]:
    """Return title and name of each bundled model, and at last the choice of a folder."""
    return [*((_title(name), name) for name in bundled_models()), (FOLDER_CHOICE, FOLDER_CHOICE)]


@cache
def _title(name: str) -> str:
    try:
        return read_card(resolve_model(name)).title or name
    except LatentFMError:
        return name  # a run with it will say what is wrong
