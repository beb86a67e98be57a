"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import blob_folders, calibrated_model_folder, tiny_model_folder
from tests.plugin_fixtures import blob_image, docked_panel

__all__ = [
    "blob_folders",
    "blob_image",
    "calibrated_model_folder",
    "docked_panel",
    "tiny_model_folder",
]


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what the plugin remembers out of the user's own folder."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NAPARI_LATENTFM_HOME", str(home))
    return home
