"""Choices that are kept between sessions, and the data folder of the plugin."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import parse_json, read_bounded

logger = logging.getLogger(__name__)

HOME_VARIABLE = "NAPARI_LATENTFM_HOME"
"""Environment variable for another folder."""
MAX_BYTES = 1_000_000
"""A larger preferences file was not written by this plugin."""


def data_folder() -> Path:
    """Return the user's folder for this plugin, which need not exist yet."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen) if chosen else user_data_path("napari-latentfm", appauthor=False)


def get(section: str) -> dict[str, Any]:
    """Return the values of a section, empty if none can be read."""
    values = _read().get(section)
    return dict(values) if isinstance(values, dict) else {}


def put(section: str, values: Mapping[str, Any]) -> None:
    """Save JSON values in a section; a failure is only logged."""
    every = _read()
    if every.get(section) == dict(values):
        return
    every[section] = dict(values)
    try:
        write_text(_file(), json.dumps(every, indent=2) + "\n")
    except (OutputError, TypeError, ValueError) as error:
        logger.warning("The choices were not saved: %s", error)


def _file() -> Path:
    return data_folder() / "preferences.json"


def _read() -> dict[str, Any]:
    file = _file()
    try:
        values = parse_json(read_bounded(file, MAX_BYTES), finite=False)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
