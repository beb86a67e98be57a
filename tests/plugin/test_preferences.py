"""The plugin's page in napari's preferences."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QLabel

from latentfm_core.config import READING
from napari_latentfm import preferences
from napari_latentfm.annotation import autosave
from napari_latentfm.reading import reading_limits
from napari_latentfm.settings import PLUGIN, page
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.plugin_fixtures import docked

MANIFEST = Path(str(resources.files("napari_latentfm"))) / "napari.yaml"


@pytest.fixture
def settings(request: pytest.FixtureRequest, npe2pm: Any) -> Any:
    """Return the plugin's settings, kept in a folder of the test."""
    pytest.importorskip("napari.settings._plugin_settings", reason="napari before 0.9")
    from napari.settings import get_plugin_settings

    request.getfixturevalue("plugin_settings")
    npe2pm.register(PluginManifest.from_file(MANIFEST))
    return get_plugin_settings(PLUGIN)


def test_the_manifest_has_the_default_limits() -> None:
    every = PluginManifest.from_file(MANIFEST).contributions.configurations
    reading = every["reading"].properties
    assert {name: each.default for name, each in reading.items()} == {
        "max_megapixels": READING.max_megapixels,
        "follow_links": READING.follow_links,
        "keep_numbers": READING.keep_numbers,
        "channel": 0,
    }
    pause = every["autosave"].properties["pause_seconds"]
    assert pause.default * 1000 == autosave.PAUSE_MS


def test_reading_limits_are_shared_with_napari_preferences(
    settings: Any, make_napari_viewer: Any, tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    form = docked(viewer, QueuePanel(viewer)).form
    assert reading_limits() == READING
    settings.reading.max_megapixels = 7
    settings.reading.follow_links = settings.reading.keep_numbers = True
    limits = reading_limits()
    assert (limits.max_megapixels, limits.follow_links, limits.keep_numbers) == (7, True, True)
    assert form.reading.megapixels.value() == 7
    form.reading.megapixels.setValue(9)
    assert settings.reading.max_megapixels == 9
    assert "max_megapixels: 9" in settings.config_path.read_text()
    settings.reading.channel = 2
    assert (form.reading.channel.value(), reading_limits().channel) == (2, 2)
    form.reading.channel.setValue(0)
    assert reading_limits().channel is None


def test_the_plugin_has_a_page_in_the_preferences(settings: Any, make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    dialog = viewer.window._open_preferences_dialog()
    labels = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert "Largest image (megapixels)" in labels
    assert "Seconds after the last edit" in labels
    dialog.close()


def test_without_a_preferences_page_the_panels_save_the_limits(
    npe2pm: Any, make_napari_viewer: Any
) -> None:
    assert page("reading") is None, "the plugin is not registered here"
    viewer = make_napari_viewer()
    form = docked(viewer, QueuePanel(viewer)).form
    form.reading.megapixels.setValue(11)
    assert preferences.get("reading") == {"max_megapixels": 11}
    assert reading_limits().max_megapixels == 11
    form.reading.channel.setValue(3)
    assert (reading_limits().channel, reading_limits().max_megapixels) == (3, 11)
    form.reading.channel.setValue(0)
    assert reading_limits().channel is None
