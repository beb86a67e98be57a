"""Seconds, memory and seams of an image of any size, segmented tile by tile.

    python -m benchmarks.large_image make --images ../shared/data/isic2018/images --side 2000
    python -m benchmarks.large_image run --side 2000
    python -m benchmarks.large_image seams --images ../shared/data/isic2018/images

``make`` writes a mosaic of real images as a Zarr array, ``run`` segments it and prints one JSON
object, in which ``peak_mib`` is the highest resident memory of the process. ``seams`` compares
tiles with the full image, drawn as one tile from the same noise, with and without blending and the
common noise.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import zarr

from latentfm_core.config import SamplingConfig, TilingConfig
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.large import large_image
from latentfm_core.images.open_large import open_large
from latentfm_core.images.read import list_images, read_image, to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prediction.large import segment_large
from latentfm_core.types import Float32, Summary

CELL = 256
"""Side in pixels of one image in the mosaic."""
POOL = 400
"""Different images in a mosaic."""


def cells(folder: Path, count: int) -> list[np.ndarray]:
    """Return the first `count` images of a folder, ``(CELL, CELL, 3)`` uint8 each."""
    found = []
    for file in list_images(folder)[:count]:
        canvas, _ = to_canvas(to_rgb(read_image(file)), CELL, "pad")
        found.append(np.rint(canvas * 255).astype(np.uint8))
    return found


def mosaic_path(args: argparse.Namespace) -> Path:
    """Return the path of the mosaic."""
    path: Path = args.work / f"mosaic_{args.side}.zarr"
    return path


def make(args: argparse.Namespace) -> dict[str, Any]:
    """Write a mosaic ``(side, side, 3)`` cell by cell."""
    args.work.mkdir(parents=True, exist_ok=True)
    side, per_side = args.side, -(-args.side // CELL)
    pool = cells(args.images, min(per_side**2, POOL))
    array = zarr.create_array(
        str(mosaic_path(args)), shape=(side, side, 3), chunks=(CELL, CELL, 3), dtype="uint8"
    )
    for number in range(per_side**2):
        top, left = CELL * (number // per_side), CELL * (number % per_side)
        height, width = min(CELL, side - top), min(CELL, side - left)
        cell = pool[number % len(pool)]
        array[top : top + height, left : left + width] = cell[:height, :width]
    return {"images": len(pool), "side": side}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Segment a mosaic and measure."""
    segmenter = Segmenter.load(args.model, args.device)
    settings = SamplingConfig(n_samples=args.samples, steps=args.steps)
    tiling = TilingConfig(scale=args.scale, overlap=args.overlap)
    loaded = _peak_mib()
    start = time.perf_counter()
    with open_large(mosaic_path(args)) as image:
        result = segment_large(
            segmenter, image, args.work / "result.zarr", settings, tiling, overwrite=True
        )
    seconds = time.perf_counter() - start
    return {
        "side": args.side,
        "scale": args.scale,
        "overlap": args.overlap,
        "samples": args.samples,
        "steps": args.steps,
        "device": segmenter.device_label,
        "tiles": result.drawn.tiles,
        "seconds": round(seconds, 1),
        "tiles_per_second": round(result.drawn.tiles / seconds, 2),
        "seconds_per_megapixel": round(seconds / (args.side**2 / 1e6), 3),
        "peak_mib": round(_peak_mib()),
        "peak_mib_after_loading": round(loaded),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seams(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare tiles with the full image, for each overlap and each simulated fault."""
    segmenter = Segmenter.load(args.model, args.device)
    per_side = args.side // CELL
    pool = cells(args.images, per_side**2)
    rows = [np.concatenate(pool[i * per_side :][:per_side], axis=1) for i in range(per_side)]
    mosaic = np.concatenate(rows)
    settings = SamplingConfig(n_samples=args.samples, steps=args.steps, calibrated=False)
    whole, whole_masks = _maps(segmenter, mosaic, settings, TilingConfig(tile=CELL * per_side))
    found = []
    for overlap in (0.25, 0.5, 0.75):
        for fault in ("none", "no blending", "own noise"):
            with _with_fault(fault):
                mean, masks = _maps(segmenter, mosaic, settings, TilingConfig(overlap=overlap))
            difference = mean - whole
            figures = {
                "largest_difference": np.abs(difference).max(),
                "mean_difference": np.abs(difference).mean(),
                "share_of_sample_pixels_that_differ": (masks != whole_masks).mean(),
                "seam": seam(difference, overlap),
            }
            rounded = {name: round(float(value), 4) for name, value in figures.items()}
            found.append({"overlap": overlap, "fault": fault, **rounded})
    return found


def seam(difference: Float32, overlap: float) -> float:
    """Return the ratio of jumps of the difference at tile borders to those elsewhere.

    Tiles meet in the middle of their overlap; without blending one ends there.
    """
    step = int(CELL * (1 - overlap)) // 32 * 32
    first = (CELL + step) // 2
    here, others = [], []
    for values in (difference, difference.T):
        jumps = np.abs(np.diff(values, axis=0)).mean(axis=1)
        places = np.arange(first, len(values) - (CELL - step) // 2, step) - 1
        here.append(jumps[places])
        others.append(np.delete(jumps, places))
    return float(np.concatenate(here).mean() / np.concatenate(others).mean())


def _maps(
    segmenter: Segmenter, pixels: np.ndarray, settings: SamplingConfig, tiling: TilingConfig
) -> tuple[Float32, np.ndarray]:
    mean = np.zeros(pixels.shape[:2], np.float32)
    masks = np.zeros((settings.n_samples, *mean.shape), bool)

    def put(top: int, left: int, part: Summary) -> None:
        height, width = part.mean_mask.shape
        place = np.s_[..., top : top + height, left : left + width]
        mean[place], masks[place] = part.mean_probability, part.sample_masks

    for _ in segmenter.sample_tiles(large_image(pixels), settings, tiling, put):
        pass
    return mean, masks


@contextmanager
def _with_fault(fault: str) -> Iterator[None]:
    def hard(tile: int, ramp: int) -> np.ndarray:
        shape = np.full(tile, 1e-9)
        shape[ramp // 2 : tile - ramp // 2] = 1
        return shape

    def own(seeds: Any, channels: int, top: int, left: int, side: Any) -> Any:
        places = [seed + 7919 * top + 104729 * left for seed in seeds]
        return seeded_noise(places, (channels, *side))

    if fault == "no blending":
        with mock.patch("latentfm_core.inference.tiling.window", hard):
            yield
    elif fault == "own noise":
        with mock.patch("latentfm_core.inference.network.field_noise", own):
            yield
    else:
        yield


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("make", "run", "seams"))
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--work", type=Path, default=Path("runs/large_image"))
    parser.add_argument("--side", type=int, default=1024, help="pixels")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--overlap", type=float, default=TilingConfig().overlap)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--model", default="isic2018")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.images is None and args.what != "run":
        parser.error("--images is needed")
    print(json.dumps({"make": make, "run": run, "seams": seams}[args.what](args), indent=2))


if __name__ == "__main__":
    main()
