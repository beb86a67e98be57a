"""Warn about models whose validation Dice is too low for use."""

from __future__ import annotations

from latentfm_core.model_io.card import ModelCard
from latentfm_core.vocabulary import UNUSABLE


def usability_warning(card: ModelCard) -> str:
    """Return a warning if the validation Dice on a card is below `UNUSABLE`, else ``""``."""
    dice = card.metrics.get("val_dice", 1.0)
    if dice >= UNUSABLE:
        return ""
    return (
        f"The model {card.id} is not usable yet: its validation Dice is {dice:.2f}. Train it "
        "longer, or choose another model."
    )
