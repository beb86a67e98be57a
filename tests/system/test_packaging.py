"""The installation: commands, sample image, model, and a core without Qt."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from skimage.io import imread

from tests.helpers.processes import load_script

COMMANDS = ("train", "predict", "evaluate", "calibrate", "export")

SHOW_THE_CORE = """
import contextlib, importlib, io, json, pkgutil, runpy, sys
import latentfm_core
for module in pkgutil.walk_packages(latentfm_core.__path__, "latentfm_core."):
    importlib.import_module(module.name)
foreign = sorted(name for name in sys.modules if name.split(".")[0] in
    {"napari", "qtpy", "PySide6", "PyQt6", "magicgui", "napari_latentfm"})
slow = sorted({"scipy.signal", "scipy.stats", "torch._dynamo"} & set(sys.modules))
helps = {}
for name in sys.argv[1:]:
    # Each command as the first thing that is imported of the package.
    for module in [module for module in sys.modules if module.startswith("latentfm_core")]:
        del sys.modules[module]
    sys.argv = [name, "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = "no exit"
        try:
            runpy.run_module(f"latentfm_core.cli.{name}", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    helps[name] = [code, said.getvalue()]
print(json.dumps({"helps": helps, "foreign": foreign, "slow": slow}))
"""


@pytest.fixture(scope="module")
def core() -> dict[str, Any]:
    """Facts about the core from a process without a window: one start of PyTorch for all."""
    result = subprocess.run(
        [sys.executable, "-c", SHOW_THE_CORE, *COMMANDS],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def test_the_core_imports_neither_qt_nor_napari(core: dict[str, Any]) -> None:
    assert core["foreign"] == []


def test_startup_does_not_import_what_one_figure_needs(core: dict[str, Any]) -> None:
    assert core["slow"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_explain_themselves(core: dict[str, Any], name: str) -> None:
    code, said = core["helps"][name]
    assert code in (0, None)
    assert f"usage: latentfm-{name}" in said


def test_the_sample_image_equals_the_output_of_its_script() -> None:
    script = load_script("make_sample_image")
    shipped = imread(script.TARGET)
    # Filters of another library version may round differently.
    assert np.abs(script.paint().astype(int) - shipped).mean() < 0.5


def test_the_bundled_model_is_uncertain_at_the_fading_side_of_the_lesion() -> None:
    from latentfm_core.config import SamplingConfig
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.types import ImageInput
    from latentfm_core.uncertainty.summary import summarise
    from napari_latentfm.sample_data import dermoscopy_demo

    pixels = dermoscopy_demo()[0][0]
    samples = Segmenter.load("isic2018", "cpu").sample(
        ImageInput(pixels), SamplingConfig(n_samples=16)
    )
    summary = summarise(samples)
    assert summary.mean_mask[150:300, 200:330].mean() > 0.9, "the pigmented body is lesion"
    assert summary.mean_mask[:, :100].mean() < 0.02, "the skin far from it is not"
    uncertainty = 1 - summary.confidence
    sharp, fading = uncertainty[150:300, 140:220].mean(), uncertainty[150:330, 330:450].mean()
    assert fading > 1.5 * sharp
