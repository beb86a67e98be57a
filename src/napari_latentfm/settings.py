"""Settings of the plugin in napari's preferences, which have such a page from 0.9."""

from __future__ import annotations

import logging
from typing import Any

PLUGIN = "napari-latentfm"

logger = logging.getLogger(__name__)


def page(section: str) -> Any | None:
    """Return a section of the plugin's page in napari's preferences.

    Its attributes are the settings, and its ``events`` signal changes. None before napari 0.9, or
    if the plugin is not registered.

    Parameters
    ----------
    section
        Its key below ``configurations`` in the manifest.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return getattr(get_plugin_settings(PLUGIN), section, None)
    except KeyError:
        return None
    except Exception as error:
        # napari discovers plugins here, any of which may be broken; the panels work without.
        logger.debug("no settings of the plugin in napari: %s", error)
        return None
