"""Samples of one image to the maps that an annotator looks at."""

from __future__ import annotations

import numpy as np

from latentfm_core.data.canvas import from_canvas
from latentfm_core.types import SampleSet, Summary

SAMPLE_THRESHOLD = 0.5
"""Probability from which on a pixel belongs to a single sample's mask."""


def summarise(samples: SampleSet, threshold: float = 0.5) -> Summary:
    """Return mean, variance, confidence and masks of the samples at the image's resolution.

    Each sample is mapped to the image first. With p_n the probability of sample n at a
    pixel, over N samples:

    - mean = (1/N) sum_n p_n, mean mask = [mean >= `threshold`];
    - variance = (1/N) sum_n (p_n - mean)^2, in [0, 0.25]; 0 for a single sample;
    - confidence = 1 - 4 variance, in [0, 1].

    The samples are taken one by one (Welford 1962), so that N masks of one byte a pixel and
    a few float maps are all that is held.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    count = len(samples)
    if count == 0:
        raise ValueError("a summary needs at least one sample")
    shape = samples.geometry.shape
    masks = np.empty((count, *shape), dtype=np.bool_)
    mean = np.zeros(shape, dtype=np.float32)
    squares = np.zeros(shape, dtype=np.float32)
    for index in range(count):
        native = from_canvas(samples.probabilities[index], samples.geometry)
        np.greater_equal(native, SAMPLE_THRESHOLD, out=masks[index])
        step = native - mean
        mean += step / np.float32(index + 1)
        native -= mean
        step *= native
        squares += step
    np.clip(mean, 0.0, 1.0, out=mean)
    squares /= np.float32(count)
    variance = np.clip(squares, 0.0, 0.25, out=squares)
    return Summary(
        mean_probability=mean,
        mean_mask=mean >= threshold,
        variance=variance,
        confidence=1 - 4 * variance,
        sample_masks=masks,
    )
