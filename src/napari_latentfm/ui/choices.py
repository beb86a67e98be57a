"""Bounds of settings, and facts about a chosen model, for several panels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import get_args

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard, read_card


def bounds(name: str) -> tuple[int, int]:
    """Return the lowest and highest value that `SamplingConfig` accepts for an integer."""
    field = SamplingConfig.model_fields[name]
    # The bounds of an optional number are those of its first type.
    limits = field.metadata or get_args(field.annotation)[0].__metadata__[0].metadata
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    high = next(limit.le for limit in limits if hasattr(limit, "le"))
    return low, high


def card_of(source: str | Path) -> ModelCard | None:
    """Return the card of a model, or None if it cannot be read; a run says why."""
    try:
        return read_card(resolve_model(source))
    except LatentFMError:
        return None


@cache
def title_of(name: str) -> str:
    """Return the title of a bundled model, as the lists of models show it."""
    card = card_of(name)
    return name if card is None else card.title or name
