"""``latentfm-predict`` on small pictures, and its expected results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.cli.predict import main
from latentfm_core.config import SamplingConfig
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.uncertainty.summary import summarise

SETTINGS = SamplingConfig(n_samples=3, steps=2, seed=7, precision="fp32", device="cpu")
OPTIONS = ["--samples", "3", "--steps", "2", "--seed", "7", "--precision", "fp32"]
OPTIONS += ["--device", "cpu"]


def scene(height: int = 40, width: int = 64) -> np.ndarray:
    """Return a dark disc on a bright ground, ``(H, W, 3)`` float in [0, 1]."""
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 4) ** 2
    colours = np.where(inside[..., None], (0.4, 0.3, 0.2), (0.85, 0.7, 0.6))
    return np.clip(colours + np.random.default_rng(0).normal(0, 0.04, colours.shape), 0, 1)


def as_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 255).astype(np.uint8)


def save_png(path: Path, height: int = 40, width: int = 64) -> Path:
    Image.fromarray(as_uint8(scene(height, width))).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three images of different sizes."""
    images = tmp_path / "images"
    images.mkdir()
    for name, size in {"one": (40, 64), "three": (31, 90), "two": (64, 64)}.items():
        save_png(images / f"{name}.png", *size)
    return images


@pytest.fixture
def run(tiny_model_folder: Path, tmp_path: Path):
    """Run the command on some inputs with the tiny model; results go to ``out``."""

    def command(*arguments: object) -> int:
        words = [*map(str, arguments), "--model", str(tiny_model_folder)]
        return main([*words, "--out", str(tmp_path / "out"), *OPTIONS])

    return command


def names(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


def check_result(out: Path, image: Path, model: Path, stem: str | None = None) -> None:
    """Compare all files of a result with the samples in Python for the same seed."""
    source = read_image(image)
    samples = Segmenter.load(model, "cpu", "fp32").sample(source, SETTINGS)
    summary = summarise(samples)
    name = stem or image.stem
    maps = {
        "mean_mask": summary.mean_mask * 255,
        "samples": summary.sample_masks * 255,
        "variance": summary.variance,
        "confidence": summary.confidence,
    }
    for kind, expected in maps.items():
        stored = tifffile.imread(out / f"{name}_{kind}.tif")
        assert stored.dtype == (np.uint8 if kind in {"mean_mask", "samples"} else np.float32)
        np.testing.assert_array_equal(stored, expected)
    shown = {
        "mean_mask": maps["mean_mask"],
        "variance": np.rint(summary.variance * 1020),
        "confidence": np.rint(summary.confidence * 255),
    }
    for kind, expected in shown.items():
        np.testing.assert_array_equal(np.array(Image.open(out / f"{name}_{kind}.png")), expected)
    for index, expected in enumerate(maps["samples"]):
        stored = np.array(Image.open(out / f"{name}_samples" / f"sample_{index:03d}.png"))
        np.testing.assert_array_equal(stored, expected)
