"""The manifest that napari reads before it imports the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from npe2.cli import app as npe2_cli
from typer.testing import CliRunner

from napari_latentfm.sampling.panel import SamplingPanel

MANIFEST = Path(str(resources.files("napari_latentfm"))) / "napari.yaml"
NAME = "napari-latentfm"


@pytest.fixture
def plugin(npe2pm: Any) -> Iterator[Any]:
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)) as plugin:
        yield plugin


def test_npe2_validates_the_manifest() -> None:
    result = CliRunner().invoke(npe2_cli, ["validate", str(MANIFEST), "--imports"])
    assert result.exit_code == 0, result.output
    assert "valid" in result.output


def test_every_command_can_be_imported() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.display_name == "LatentFM"


def _find_action(menu: Any, text: str) -> Any:
    """Find an entry by its text in a menu or in the menus below it."""
    menu.aboutToShow.emit()
    for action in menu.actions():
        if action.text() == text:
            return action
        if action.menu() is not None and (found := _find_action(action.menu(), text)) is not None:
            return found
    return None


@pytest.mark.parametrize("menu", ["plugins_menu", "layers_menu"])
def test_the_menu_opens_the_panel(plugin: Any, make_napari_viewer: Any, menu: str) -> None:
    viewer = make_napari_viewer()
    action = _find_action(getattr(viewer.window, menu), "Sample segmentation (LatentFM)")
    assert action is not None
    action.trigger()
    assert len(viewer.window._qt_window.findChildren(SamplingPanel)) == 1


def test_sample_image_opens(plugin: Any, make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample(NAME, "dermoscopy_demo")
    assert layer.rgb
    assert layer.data.dtype == np.uint8
    assert min(layer.data.shape[:2]) >= 128
    assert layer.data.std() > 10


LIGHT = (
    "napari_latentfm",
    "napari_latentfm.sample_data",
    "napari_latentfm.sampling.panel",
    "napari_latentfm.dock.entries",
)
HEAVY = {"torch", "scipy.spatial", "scipy.cluster"}


def test_heavy_libraries_are_not_imported_before_a_run() -> None:
    # Not even by the dock, which napari opens in its GUI thread. Some releases of napari import
    # some of them themselves.
    tell = f"import napari.layers; heavy = {HEAVY} - set(sys.modules);" + "".join(
        f"import {name}; print(not heavy & set(sys.modules));" for name in LIGHT
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", f"import sys; {tell}"]
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * len(LIGHT), done.stderr
