"""Summarise the samples of an image as maps for the annotator."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentfm_core.correction.strokes import impose
from latentfm_core.images.canvas import from_canvas, window_of
from latentfm_core.progress import finish
from latentfm_core.types import Float32, Mask, SampleSet, Summary
from latentfm_core.uncertainty.calibration import (
    Calibration,
    neighbourhood,
    neighbourhood_confidence,
)
from latentfm_core.uncertainty.expected_dice import sample_agreement
from latentfm_core.uncertainty.size import outlines_nothing

SAMPLE_THRESHOLD = 0.5
"""Lowest probability of a pixel in a single sample's mask."""

DEFAULT_THRESHOLD = 0.5
"""Default threshold of the mean probability, for models without a fitted one."""

REFINED_THRESHOLD = 0.45
"""The same for samples that were drawn a second time. They are nearly binary: where half of an even
number agree, the mean is 0.5 up to noise, which would speckle the mask."""

STRIP = 2**16
"""Number of pixels that are summarised at once."""

Part = tuple[slice, slice]
"""Rows and columns of an image."""

USUAL_SCALE = 1.0
"""Standard deviation of the noise that the flow was trained with."""


def usual_threshold(refined: bool) -> float:
    """Return the threshold of the mean probability for models without a fitted one."""
    return REFINED_THRESHOLD if refined else DEFAULT_THRESHOLD


def summarise(
    samples: SampleSet,
    threshold: float | None = None,
    calibration: Calibration | None = None,
) -> Summary:
    """Return mean, variance, confidence and masks of the samples at the image's resolution.

    Users call `Segmenter.summarise`, which uses the model's threshold and calibration.

    Each sample is mapped to the image first. With p_n the probability of sample n at a
    pixel, over N samples:

    - mean = (1/N) sum_n p_n, mean mask = [mean >= `threshold`];
    - variance = (1/N) sum_n (p_n - mean)^2, in [0, 0.25]; 0 for a single sample;
    - confidence = 1 - 4 variance, in [0, 1];
    - expected Dice = (1/N) sum_n Dice(mean mask, [p_n >= 0.5]), from two samples on; None of a
      mean mask that is empty or covers the image, and of an image out of domain.

    With K > 1 channels p_n is a categorical distribution: the mean mask is its argmax over
    the channels, and the confidence 1 - K / (K - 1) times the sum of the variances, which
    is the same as above for K = 2.

    With a `calibration`, mean probability, confidence and expected Dice are calibrated;
    mean mask, variance and samples are unchanged.

    The samples are taken one by one (Welford 1962), so that N masks of one byte a pixel and
    a few float maps are all that is held. If the samples were corrected by strokes, every
    sample agrees with the strokes.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    return finish(summary_steps(samples, threshold, calibration))


def summary_steps(
    samples: SampleSet,
    threshold: float | None = None,
    calibration: Calibration | None = None,
) -> Generator[int, None, Summary]:
    """Like `summarise`; yields the number of samples resized to the image so far.

    On a large image each takes a second: closing the generator cancels the work within one.

    Raises
    ------
    ValueError
        As `summarise`.
    """
    count = len(samples)
    if count == 0:
        raise ValueError("a summary needs at least one sample")
    level = DEFAULT_THRESHOLD if threshold is None else threshold
    raw = yield from _map_steps(_native(samples), count, level, _marked(samples))
    raw = replace(raw, domain_score=samples.domain_score)
    raw = replace(raw, expected_dice=known_agreement(raw))
    if calibration is None:
        return raw
    # Smoothed on the canvas: as large there as when it was fitted, and cheap for any image.
    canvas = samples.probabilities.mean(axis=0, dtype=np.float32)
    q = from_canvas(neighbourhood(canvas, calibration.sigma), samples.geometry)
    if samples.geometry.window is None:
        summary = calibrated(raw, q, calibration)
    else:
        summary = _calibrated_inside(raw, q, calibration, window_of(samples.geometry))
    if samples.strokes is not None:
        impose(summary.mean_probability, samples.strokes)
        summary.confidence[samples.strokes > 0] = 1
    return summary


def known_agreement(summary: Summary) -> float | None:
    """Return the agreement of the samples with the mean mask, if it is meaningful."""
    # Empty samples agree both for an image without an object and for a misread one.
    if summary.out_of_domain or outlines_nothing(summary.mean_mask):
        return None
    return sample_agreement(summary.sample_masks, summary.mean_mask)


def _marked(samples: SampleSet) -> Part:
    """Return rows and columns with the window that the network has seen, and with all strokes."""
    window = window_of(samples.geometry)
    if samples.strokes is None:
        return window
    painted = (np.flatnonzero(samples.strokes.any(axis=axis)) for axis in (1, 0))
    return (_hull(window[0], next(painted)), _hull(window[1], next(painted)))


def _hull(window: slice, painted: NDArray[np.intp]) -> slice:
    if not painted.size:
        return window
    return slice(min(window.start, int(painted[0])), max(window.stop, int(painted[-1]) + 1))


def _strips(part: Part) -> Iterator[Part]:
    """Yield the part in strips that fit into the cache of a processor."""
    rows, columns = part
    height = max(1, STRIP // max(1, columns.stop - columns.start))
    for top in range(rows.start, rows.stop, height):
        yield slice(top, min(top + height, rows.stop)), columns


def _native(samples: SampleSet) -> Iterator[Float32]:
    for probabilities in samples.probabilities:
        native = from_canvas(probabilities, samples.geometry)
        if samples.strokes is not None:
            impose(native, samples.strokes)
        yield native


def summarise_maps(maps: Iterable[Float32], count: int, threshold: float) -> Summary:
    """Return the raw summary, as `summarise` defines it, of probabilities as they are.

    Parameters
    ----------
    maps
        For each sample ``(H, W)``, or ``(K, H, W)`` with several classes; they are overwritten.
    count
        Their number N, at least 1.
    """
    return finish(_map_steps(maps, count, threshold))


def _map_steps(
    maps: Iterable[Float32], count: int, threshold: float, marked: Part | None = None
) -> Generator[int, None, Summary]:
    """Like `summarise_maps`; outside the rows and columns of `marked`, all maps are 0."""
    for index, native in enumerate(maps):
        if index == 0:
            channels = native.ndim == 3
            masks: Mask = np.zeros(
                (count, *native.shape[-2:]), dtype=np.uint8 if channels else np.bool_
            )
            mean = np.zeros(native.shape, dtype=np.float32)
            squares = np.zeros(native.shape, dtype=np.float32)
        for part in _strips(marked or (slice(0, native.shape[-2]), slice(0, native.shape[-1]))):
            values, average = native[..., *part], mean[..., *part]
            masks[index, *part] = harden(values, SAMPLE_THRESHOLD)
            step = values - average
            average += step / np.float32(index + 1)
            values -= average
            step *= values
            squares[..., *part] += step
        yield index + 1
    np.clip(mean, 0.0, 1.0, out=mean)
    squares /= np.float32(count)
    variance = np.clip(squares, 0.0, 0.25, out=squares)
    if channels:
        total = variance.sum(axis=0)
        scale = np.float32(len(mean) / (len(mean) - 1))
        confidence = np.clip(1 - total * scale, 0.0, 1.0)
    else:
        total, confidence = variance, 1 - 4 * variance
    return Summary(
        mean_probability=mean,
        mean_mask=harden(mean, threshold),
        variance=total,
        confidence=confidence,
        sample_masks=masks,
        class_confidence=1 - 4 * variance[1:] if channels else None,
    )


def calibrated(raw: Summary, q: Float32, calibration: Calibration) -> Summary:
    """Return the summary with calibrated mean probability and confidence.

    Parameters
    ----------
    q
        Mean probability in the `neighbourhood` of each pixel, of the shape of the mean.
    """
    mean = raw.mean_probability
    to_frequency, quality = calibration.probability, calibration.quality
    expected = raw.expected_dice
    return replace(
        raw,
        mean_probability=mean if to_frequency is None else to_frequency(mean),
        confidence=calibration.confidence(neighbourhood_confidence(np.clip(q, 0.0, 1.0))),
        calibrated=True,
        expected_dice=expected if expected is None or quality is None else quality(expected),
    )


def _calibrated_inside(raw: Summary, q: Float32, calibration: Calibration, part: Part) -> Summary:
    """Return `calibrated` in the part of the image that the network has seen, 0 and 1 elsewhere."""
    inside = (..., *part)
    seen = replace(raw, mean_probability=raw.mean_probability[inside])
    seen = calibrated(seen, q[inside], calibration)
    mean, confidence = np.zeros_like(raw.mean_probability), np.ones_like(raw.confidence)
    mean[inside], confidence[inside] = seen.mean_probability, seen.confidence
    return replace(seen, mean_probability=mean, confidence=confidence)


def harden(probabilities: Float32, threshold: float) -> Mask:
    """Return the mask of ``(H, W)`` probabilities or the labels of ``(K, H, W)`` ones."""
    if probabilities.ndim == 2:
        return np.asarray(probabilities >= threshold)
    labels: Mask = probabilities.argmax(axis=0).astype(np.uint8)
    return labels
