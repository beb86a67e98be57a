"""Warnings about calibrations that do not fit the samples they are applied to."""

from __future__ import annotations

import logging

from latentfm_core.model_io.card import ModelCard
from latentfm_core.names import counted
from latentfm_core.once import first_time
from latentfm_core.uncertainty.calibration import Calibration

logger = logging.getLogger(__name__)


def check_calibration(
    card: ModelCard, calibration: Calibration, samples: int, steps: int, distilled: bool
) -> bool:
    """Return whether a calibration was fitted to samples like these; warn once if not."""
    fits = _check_counts(card, calibration, samples, steps)
    return (not distilled or _check_distilled(card, calibration, steps)) and fits


def _check_counts(card: ModelCard, calibration: Calibration, samples: int, steps: int) -> bool:
    """Check for a calibration from one sample or ODE step, applied to results of several."""
    fitted = {"sample": (calibration.n_samples, samples), "ODE step": (calibration.steps, steps)}
    few = {name: now for name, (then, now) in fitted.items() if then == 1 < now}
    if few and first_time("calibration from one sample", card.id, card.weights_sha256, *few):
        logger.warning(
            "The calibration of %s was fitted to results of 1 %s, and this result has %s. Its "
            "confidence and expected Dice may be wrong. Calibrate the model with the settings that "
            "you use (latentfm-calibrate), or choose the raw confidence.",
            card.id,
            " and 1 ".join(few),
            " and ".join(counted(now, name) for name, now in few.items()),
        )
    return not few


def _check_distilled(card: ModelCard, calibration: Calibration, steps: int) -> bool:
    """Check for a calibration from samples of the flow, applied to those of few steps."""
    fits = calibration.steps <= card.config.model.distilled_steps
    if not fits and first_time("calibration of the flow", card.id, card.weights_sha256):
        logger.warning(
            "The calibration of %s was fitted to samples of %s, and these are from its distilled "
            "network with %d. Expected Dice may be too low. Calibrate the model with the number of "
            "steps that you use (latentfm-calibrate), or draw more.",
            card.id,
            counted(calibration.steps, "ODE step"),
            steps,
        )
    return fits


def warn_of_unaligned(card: ModelCard) -> None:
    """Warn once of a calibration for boxes from before samples were aligned with them."""
    if first_time("calibration of unaligned boxes", card.id, card.weights_sha256):
        logger.warning(
            "The calibration of %s for boxes does not say that the samples were aligned with their "
            "boxes, as they are now: expected Dice and confidence may be too low. Calibrate it "
            "again: latentfm-calibrate --prompt box.",
            card.id,
        )
