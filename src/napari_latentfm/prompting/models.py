"""Models that take prompts."""

from __future__ import annotations

from pathlib import Path

from latentfm_core.config import ANY_OBJECT_MODEL
from latentfm_core.errors import LatentFMError
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.card import ModelCard, read_card


def card_of(source: str | Path) -> ModelCard | None:
    """Return the card of a model, or None if it cannot be read; a run says why."""
    try:
        return read_card(resolve_model(source))
    except LatentFMError:
        return None


def takes_prompts(source: str | Path) -> bool:
    """Return whether a model takes prompts; True if its card cannot be read."""
    card = card_of(source)
    return card is None or card.config.model.prompts


def promptable_model() -> str | None:
    """Return the bundled model that takes prompts in images of any kind, or None."""
    return ANY_OBJECT_MODEL if ANY_OBJECT_MODEL in bundled_models() else None
