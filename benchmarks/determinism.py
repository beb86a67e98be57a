"""Differences of samples of one seed by batch size, number of samples and threads.

    OMP_NUM_THREADS=1 python -m benchmarks.determinism isic2018

Defaults: 16 samples in one batch, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from latentfm_core.config import Precision, SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import Float32, ImageInput

SAMPLES, STEPS = 16, 4


def picture() -> ImageInput:
    """Return a dark disc on a bright, noisy background, 200 x 260."""
    rows, columns = np.mgrid[:200, :260]
    inside = np.hypot(rows - 100, columns - 130) < 50
    image = np.where(inside[..., None], (110, 70, 50), (220, 180, 160))
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return ImageInput(np.clip(image + noise, 0, 255).astype(np.uint8))


def compare(name: str, precision: Precision) -> None:
    """Print the differences of one model in one precision."""
    segmenter, image = Segmenter.load(name, "cpu", precision), picture()

    def draw(samples: int = SAMPLES, batch: int = SAMPLES, threads: int = 1) -> Float32:
        torch.set_num_threads(threads)
        settings = SamplingConfig(
            n_samples=samples, steps=STEPS, batch_size=batch, device="cpu", refine=False
        )
        return segmenter.sample(image, settings).probabilities

    def show(what: str, found: Float32, wanted: Float32) -> None:
        most = np.abs(found - wanted).max()
        pixels = ((found >= 0.5) != (wanted >= 0.5)).mean()
        print(f"{name}, {precision}, {what}: at most {most:.1e}, {pixels:.4%} of the mask pixels")

    usual, single = draw(), draw(batch=1)
    show("again", draw(), usual)
    for batch in (1, 2, 3, 5, 8):
        show(f"batches of {batch}", draw(batch=batch), usual)
    for samples in (1, 4, 7):
        show(f"{samples} samples", draw(samples), usual[:samples])
        show(f"{samples} samples, batches of 1", draw(samples, 1), single[:samples])
    for threads in (2, 3):
        show(f"{threads} threads", draw(threads=threads), usual)
        show(f"{threads} threads, batches of 1", draw(batch=1, threads=threads), single)
    for batch in (SAMPLES, 1):
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            draw(8, batch)
            seconds.append(time.perf_counter() - start)
        print(f"{name}, {precision}, 8 samples in batches of {batch}: {min(seconds):.2f} s")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="bundled models or model folders")
    for name in parser.parse_args(argv).models:
        for precision in ("fp32", "bf16"):
            compare(name, precision)


if __name__ == "__main__":
    main()
