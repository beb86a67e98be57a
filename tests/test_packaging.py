"""What a user gets from an installation: commands, the demo, and a core free of Qt."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

ROOT = Path(__file__).resolve().parent.parent

IMPORT_THE_CORE = """
import importlib, pkgutil, sys
import latentfm_core
for module in pkgutil.walk_packages(latentfm_core.__path__, "latentfm_core."):
    importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.split(".")[0] in
    {"napari", "qtpy", "PySide6", "PyQt6", "magicgui", "napari_latentfm"}))
"""


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def test_the_core_imports_neither_qt_nor_napari() -> None:
    result = _run("-c", IMPORT_THE_CORE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["train", "predict", "evaluate", "calibrate", "export"])
def test_commands_explain_themselves(name: str) -> None:
    result = _run("-m", f"latentfm_core.cli.{name}", "--help")
    assert result.returncode == 0, result.stderr
    assert f"usage: latentfm-{name}" in result.stdout


def test_the_demo_shows_the_bundled_model_at_work(tmp_path: Path) -> None:
    """The whole main job: window, sample image, bundled model, layers, screenshot."""
    picture = tmp_path / "window.png"
    result = _run("-m", "napari_latentfm.demo", "--screenshot", str(picture))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith(str(picture))
    pixels = imread(picture)
    assert pixels.shape[0] >= 600
    # The outline of the mean mask is drawn in a blue that neither window nor skin has.
    red, green, blue = np.moveaxis(pixels[..., :3].astype(int), -1, 0)
    assert ((blue > 200) & (green > 150) & (red < 120)).sum() > 100


def test_the_sample_image_is_what_its_script_paints() -> None:
    path = ROOT / "scripts" / "make_sample_image.py"
    spec = importlib.util.spec_from_file_location("make_sample_image", path)
    if spec is None or spec.loader is None:
        pytest.fail(f"{path} cannot be loaded")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    shipped = imread(script.TARGET)
    # Filters of another library version may round differently.
    assert np.abs(script.paint().astype(int) - shipped).mean() < 0.5


def test_the_bundled_model_finds_the_sample_lesion_and_doubts_its_fading_side() -> None:
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
    doubt = 1 - summary.confidence
    sharp, fading = doubt[150:300, 140:220].mean(), doubt[150:330, 330:450].mean()
    assert fading > 1.5 * sharp
