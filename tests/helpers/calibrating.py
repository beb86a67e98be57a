"""Samples of the small model with and without calibration."""

from __future__ import annotations

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.uncertainty.calibration import Calibration

SETTINGS = SamplingConfig(n_samples=4, steps=2, device="cpu", precision="fp32")
RAW = SETTINGS.model_copy(update={"calibrated": False})
OPTIONS = ["--samples", "4", "--steps", "2", "--device", "cpu", "--precision", "fp32"]


def with_calibration(segmenter: Segmenter, calibration: Calibration | None) -> Segmenter:
    card = segmenter.card.model_copy(update={"calibration": calibration})
    return Segmenter(segmenter.model, card, "cpu", "fp32")
