"""Settings in napari's own preferences, where napari has such a page for plugins (from 0.9)."""

from __future__ import annotations

import logging
from typing import Any

PLUGIN = "napari-latentfm"

logger = logging.getLogger(__name__)


def page(section: str) -> Any | None:
    """Return a section of the plugin's page in napari's preferences.

    Parameters
    ----------
    section
        Its key below ``configurations`` in the manifest.

    Returns
    -------
    napari.settings section or None
        Its attributes are the settings, and its ``events`` tell of changes; None before napari 0.9,
        and where the plugin is not registered.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return getattr(get_plugin_settings(PLUGIN), section, None)
    except (KeyError, OSError, ValueError) as error:
        logger.debug("napari has no settings of the plugin: %s", error)
        return None
