"""Probabilities stay in [0, 1], and an overflow of the network is reported."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from latentfm_core.config import CorrectionConfig, Precision, SamplingConfig, SolverName
from latentfm_core.errors import ConfigError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput, SampleSet
from tests.helpers.odd_images import COLOUR


def _extremes() -> list[np.ndarray]:
    spot = np.zeros((48, 64), np.uint8)
    spot[20, 20] = 255
    noise = np.random.default_rng(0).choice(np.uint8([0, 255]), (48, 64, 3))
    return [COLOUR, spot, 255 - spot, noise]


def check(segmenter: Segmenter, samples: SampleSet) -> None:
    summary = segmenter.summarise(samples)
    maps = (samples.probabilities, summary.mean_probability, summary.confidence)
    for values in (*maps, summary.variance * 4):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_solver_and_number_of_steps_gives_probabilities(
    calibrated_model_folder: Path, precision: Precision
) -> None:
    segmenter = Segmenter.load(calibrated_model_folder, "cpu", precision)
    usual = SamplingConfig(n_samples=2, device="cpu", precision=precision)
    for solver, steps in product(get_args(SolverName), (1, 2, 5, 16)):
        settings = usual.model_copy(update={"solver": solver, "steps": steps})
        check(segmenter, segmenter.sample(ImageInput(COLOUR), settings))
    for steps, pixels in product((1, 4), _extremes()):
        settings = usual.model_copy(update={"steps": steps})
        check(segmenter, segmenter.sample(ImageInput(pixels), settings))
    most = usual.model_copy(update={"steps": 64, "n_samples": 1})
    check(segmenter, segmenter.sample(ImageInput(COLOUR), most))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("scale", [1e-6, 2.0, 100.0])
def test_strokes_of_any_strength_give_probabilities(
    calibrated_model_folder: Path, precision: Precision, scale: float
) -> None:
    segmenter = Segmenter.load(calibrated_model_folder, "cpu", precision)
    settings = SamplingConfig(n_samples=2, device="cpu", precision=precision)
    strokes = np.zeros((48, 64), np.uint8)
    strokes[4:9, 4:9], strokes[24, 32] = 2, 1  # both against what is seen
    for steps in (1, 12):
        correction = CorrectionConfig(steps=steps, scale=scale)
        samples = segmenter.sample(
            ImageInput(COLOUR), settings, strokes=strokes, correction=correction
        )
        check(segmenter, samples)


def test_an_overflowing_network_is_reported(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.load(tiny_model_folder, "cpu", "fp32")
    with torch.no_grad():
        segmenter.model.velocity.conv_in.weight.mul_(1e38)
    with pytest.raises(ConfigError, match=r"produced NaN.*float32.*precision fp32"):
        segmenter.sample(ImageInput(COLOUR), SamplingConfig(n_samples=2, steps=4))
