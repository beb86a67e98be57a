"""Differences between exported models and the original, on real images.

    python -m benchmarks.export_parity --model isic2018 --images ../shared/data/isic2018/images \
        --count 20

Exports both formats into a temporary folder, runs them with ONNX Runtime, and prints the largest
differences from PyTorch as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.export.bioimage import WEIGHTS, write_package
from latentfm_core.export.parts import write_parts
from latentfm_core.export.recipe import NOISE
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.read import list_images, read_image, to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput

MILLION = 1e6
ONE_PASS = SamplingConfig(refine=False)
"""What an exported model draws."""


class Exported:
    """Both formats of a model, ready to run."""

    def __init__(self, segmenter: Segmenter, settings: SamplingConfig, folder: Path) -> None:
        self._steps = settings.ode_steps
        write_parts(folder / "parts", segmenter, settings)
        write_package(folder / "model.zip", segmenter, settings)
        with zipfile.ZipFile(folder / "model.zip") as archive:
            archive.extract(WEIGHTS, folder)
        self._whole = onnxruntime.InferenceSession(str(folder / WEIGHTS))
        self._noise = np.load(folder / "parts" / NOISE)
        self._parts = {
            name: onnxruntime.InferenceSession(str(folder / "parts" / f"{name}.onnx"))
            for name in ("condition", "velocity", "decoder")
        }

    def maps(self, image: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return mean mask, mean probability, confidence and samples of ``(1, 3, S, S)``."""
        return [each[0] for each in self._whole.run(None, {"image": image})]

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same from samples drawn by Euler steps through the parts."""
        condition = self._parts["condition"].run(None, {"image": image})
        maps = {f"map_{index}": values for index, values in enumerate(condition)}
        z = self._noise
        for step in range(self._steps):
            t = np.array([step / self._steps], np.float32)
            (v,) = self._parts["velocity"].run(None, {"z": z, "t": t, **maps})
            z = z + v / self._steps
        found: NDArray[np.float32] = self._parts["decoder"].run(None, {"z": z})[0]
        return found


def differences(segmenter: Segmenter, exported: Exported, path: Path) -> dict[str, float]:
    """Return the differences for one image of a model of one class."""
    data, settings = segmenter.card.config.data, segmenter.resolved(ONE_PASS)
    canvas, _ = to_canvas(to_rgb(read_image(path)), data.size, data.fit)
    pixels = (canvas * 255).round().astype(np.uint8)
    samples = segmenter.sample(ImageInput(pixels), settings)
    summary = segmenter.summarise(samples, settings)
    image = pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    mask, mean, confidence, masks = exported.maps(image)
    off = np.abs(mean[0] - summary.mean_probability)
    parts = exported.probabilities(image)[:, 0]
    return {
        "parts_probability": float(np.abs(parts - samples.probabilities).max()),
        "mean_mask_per_million": float(MILLION * (mask[0] != summary.mean_mask).mean()),
        "samples_per_million": float(MILLION * (masks != summary.sample_masks).mean()),
        "confidence": float(np.abs(confidence[0] - summary.confidence).max()),
        "mean_probability": float(off.max()),
        "mean_probability_over_0.005_per_million": float(MILLION * (off > 5e-3).mean()),
    }


def main() -> None:
    """Export, run, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="isic2018")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--count", type=int, default=20, help="number of images, by name")
    args = parser.parse_args()
    segmenter = Segmenter.load(args.model, "cpu", "fp32")
    with tempfile.TemporaryDirectory() as folder:
        exported = Exported(segmenter, segmenter.resolved(), Path(folder))
        paths = list_images(args.images)[: args.count]
        rows = [differences(segmenter, exported, path) for path in paths]
    worst = {name: float(f"{max(row[name] for row in rows):.3g}") for name in rows[0]}
    print(json.dumps({"images": len(rows), **worst}, indent=2))


if __name__ == "__main__":
    main()
