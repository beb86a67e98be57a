"""Fit a `Calibration` to images with reference masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.evaluate import Case, Draw, unprompted
from latentfm_core.evaluation.evidence import THRESHOLDS, Evidence
from latentfm_core.evaluation.noise_scale import NOISE_SCALES, choose_noise_scale
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.uncertainty.calibration import Calibration
from latentfm_core.uncertainty.summary import USUAL_SCALE

logger = logging.getLogger(__name__)


def fit_calibration(
    segmenter: Segmenter,
    cases: Iterable[Case],
    settings: SamplingConfig,
    on_image: Callable[[int], object] | None = None,
    part: str = "",
    groups: Mapping[str, str] | None = None,
    draw: Draw = unprompted,
) -> Calibration:
    """Fit noise scale, confidence map, probability map and threshold on validation images.

    The noise scale makes the samples differ from each other as much as from the raters' masks
    (see `choose_noise_scale`). Everything else is fitted at that scale. The threshold has the
    best mean Dice, if significantly better than at the usual one (see `choose_threshold`);
    expected Dice follows the agreement of the samples at that threshold (`fit_quality`); the
    neighbourhood has the best error-detection AUROC; both maps are isotonic regressions over all
    pixels and raters.
    Only counts are kept per image, so memory hardly grows with the data set.

    Parameters
    ----------
    cases
        Validation images, consumed one by one; never those of reported scores.
    settings
        Sampling settings, except the noise scale; the calibration is valid for about this number
        of samples.
    part
        Source of the images, for the card.
    groups
        Patient or video of each image, by name. The images of a group are correlated, and count
        as one observation in the choice of noise scale and threshold.
    draw
        Sampling function, such as with prompts of one kind.

    Raises
    ------
    DatasetError
        If there are no cases.
    """
    config = segmenter.card.config
    # A single sample has no spread.
    scales = NOISE_SCALES if settings.n_samples > 1 else (USUAL_SCALE,)
    tried = {scale: Evidence(config) for scale in scales}
    for done, case in enumerate(cases, start=1):
        # Objects of one image are correlated, too.
        own = None if case.number is None else case.image.name
        group = (groups or {}).get(case.image.name, own)
        for scale, found in tried.items():
            drawn = settings.model_copy(update={"noise_scale": scale})
            (samples,) = draw(segmenter, [case], drawn)
            found.add(samples, case.references, group)
        if on_image is not None:
            on_image(done)
    if not tried[USUAL_SCALE].n_images:
        raise DatasetError("There are no images to calibrate on. Choose images and their masks.")
    scale = _best_scale(tried)
    fitted = tried[scale].fit(settings.model_copy(update={"noise_scale": scale}), part)
    for text in ends_of_range(fitted):
        logger.warning(
            "%s: the best may lie beyond it. Check that images and masks belong together and the "
            "model is trained.",
            text,
        )
    return fitted


def ends_of_range(calibration: Calibration) -> list[str]:
    """Return a message for each fitted value at the limit of its range."""
    least, most = NOISE_SCALES[0], NOISE_SCALES[-1]
    texts = []
    if calibration.noise_scale in (least, most):
        texts.append(
            f"The fitted noise scale, {calibration.noise_scale:g}, is an end of the range that is "
            f"searched ({least:g} to {most:g})"
        )
    if calibration.threshold in (THRESHOLDS[0], THRESHOLDS[-1]):
        texts.append(
            f"The fitted threshold, {calibration.threshold:g}, is an end of the range that is "
            f"searched ({THRESHOLDS[0]:g} to {THRESHOLDS[-1]:g})"
        )
    return texts


def _best_scale(tried: Mapping[float, Evidence]) -> float:
    """Return the scale chosen by `choose_noise_scale`, and log the candidates and the reason."""
    if len(tried) == 1:
        return USUAL_SCALE
    ged = np.array([tried[scale].energy for scale in NOISE_SCALES]).T
    dice = np.array([tried[scale].usual_dice() for scale in NOISE_SCALES]).T
    means = zip(NOISE_SCALES, ged.mean(axis=0), dice.mean(axis=0), strict=True)
    entries = (f"{scale:g}: {energy:.4f} ({mask:.4f})" for scale, energy, mask in means)
    logger.info("fair GED (Dice of the mean mask) at noise scale %s", ", ".join(entries))
    index, reason = choose_noise_scale(ged, dice, tried[USUAL_SCALE].groups)
    logger.info("noise scale %g is used: %s", NOISE_SCALES[index], reason)
    return NOISE_SCALES[index]
