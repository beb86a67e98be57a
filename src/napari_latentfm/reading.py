"""The user's limits for files that may come from strangers."""

from __future__ import annotations

import logging

from latentfm_core.config import READING, ReadingConfig, reading_settings
from latentfm_core.errors import ConfigError
from napari_latentfm import preferences

logger = logging.getLogger(__name__)

SECTION = "reading"
"""Of the preferences: fields of `ReadingConfig` that differ from the usual ones."""


def reading_limits() -> ReadingConfig:
    """Return the limits that the user chose, or the usual ones."""
    try:
        return reading_settings(preferences.get(SECTION))
    except ConfigError as error:
        logger.warning("The usual limits for files are taken: %s", error)
        return READING


def choose_megapixels(megapixels: float) -> None:
    """Keep another limit for the pixels of an image."""
    kept = {**preferences.get(SECTION), "max_megapixels": megapixels}
    preferences.put(SECTION, kept)


def learning_overrides() -> tuple[str, ...]:
    """Return the chosen limits as settings of a learning run, which is another process."""
    usual = READING.model_dump()
    chosen = reading_limits().model_dump()
    return tuple(
        f"data.reading.{name}={str(value).lower()}"
        for name, value in chosen.items()
        if value != usual[name]
    )
