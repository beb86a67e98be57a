"""The user's limits for reading untrusted files."""

from __future__ import annotations

import logging
from typing import Any

from latentfm_core.config import READING, ReadingConfig, reading_settings
from latentfm_core.errors import ConfigError
from napari_latentfm import preferences, settings

logger = logging.getLogger(__name__)

SECTION = "reading"
"""Section of the preferences: fields of `ReadingConfig` that differ from the defaults."""


def reading_limits() -> ReadingConfig:
    """Return the limits that the user chose, or the defaults.

    They come from napari's preferences if these have a page for the plugin, else from the
    plugin's own.
    """
    try:
        return reading_settings(_chosen())
    except ConfigError as error:
        logger.warning("The default limits for files are used: %s", error)
        return READING


def choose_megapixels(megapixels: int) -> None:
    """Save a limit for the pixels of an image."""
    page = settings.page(SECTION)
    if page is not None:
        page.max_megapixels = megapixels
    else:
        kept = {**preferences.get(SECTION), "max_megapixels": megapixels}
        preferences.put(SECTION, kept)


def choose_channel(channel: int) -> None:
    """Save the channel to read from files of several, counted from 1; 0 for none."""
    page = settings.page(SECTION)
    if page is not None:
        page.channel = channel
    else:
        preferences.put(SECTION, {**preferences.get(SECTION), "channel": channel or None})


def learning_overrides() -> tuple[str, ...]:
    """Return the limits as settings of a fine-tuning run, which is a separate process."""
    usual = READING.model_dump()
    chosen = reading_limits().model_dump()
    return tuple(
        f"data.reading.{name}={str(value).lower()}"
        for name, value in chosen.items()
        if value != usual[name]
    )


def _chosen() -> dict[str, Any]:
    page = settings.page(SECTION)
    if page is None:
        return preferences.get(SECTION)
    return {
        "max_megapixels": page.max_megapixels,
        "follow_links": page.follow_links,
        "keep_numbers": page.keep_numbers,
        "channel": page.channel or None,
    }
