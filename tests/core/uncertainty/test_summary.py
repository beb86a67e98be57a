"""Maps of the annotator, computed from samples on the canvas."""

from __future__ import annotations

import numpy as np
import pytest

from latentfm_core.images.canvas import canvas_geometry, from_canvas
from latentfm_core.types import SampleSet, SamplingRecord
from latentfm_core.uncertainty.summary import summarise


def sample_set(
    probabilities: np.ndarray, shape: tuple[int, int] | None = None, fit: str = "pad"
) -> SampleSet:
    size = probabilities.shape[-1]
    geometry = canvas_geometry(shape or (size, size), size, fit)
    seeds = tuple(range(len(probabilities)))
    return SampleSet(
        probabilities.astype(np.float32), geometry, SamplingRecord("test", "0" * 64, seeds, 4)
    )


def random_samples(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, size, size), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 2, 8, 33])
@pytest.mark.parametrize(
    ("shape", "fit"), [((64, 64), "pad"), ((45, 100), "pad"), ((30, 20), "stretch")]
)
def test_maps_agree_with_plain_numpy_at_native_resolution(count, shape, fit):
    samples = sample_set(random_samples(count), shape, fit)
    native = from_canvas(samples.probabilities, samples.geometry).astype(np.float64)
    summary = summarise(samples)
    np.testing.assert_allclose(summary.mean_probability, native.mean(0), atol=1e-6)
    np.testing.assert_allclose(summary.variance, native.var(0), atol=1e-6)
    np.testing.assert_allclose(summary.confidence, 1 - 4 * native.var(0), atol=1e-5)
    np.testing.assert_array_equal(summary.sample_masks, native >= 0.5)
    np.testing.assert_array_equal(summary.mean_mask, summary.mean_probability >= 0.5)


def test_shapes_dtypes_and_ranges():
    samples = sample_set((random_samples(8) > 0.5) * 1.0, (45, 100))
    summary = summarise(samples)
    for name in ("mean_probability", "variance", "confidence"):
        values = getattr(summary, name)
        assert values.shape == (45, 100)
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= (0.25 if name == "variance" else 1)
    assert summary.mean_mask.shape == (45, 100)
    assert summary.mean_mask.dtype == summary.sample_masks.dtype == np.bool_
    assert summary.sample_masks.shape == (8, 45, 100)


def test_agreement_gives_confidence_1_and_an_even_split_0():
    disc = np.hypot(*(np.indices((64, 64)) - 31.5)) < 20
    same = summarise(sample_set(np.stack([disc] * 5)))
    np.testing.assert_array_equal(same.variance, 0)
    np.testing.assert_array_equal(same.confidence, 1)
    np.testing.assert_array_equal(same.mean_mask, disc)
    split = summarise(sample_set(np.stack([disc, np.zeros_like(disc)] * 3)))
    np.testing.assert_allclose(split.variance[disc], 0.25, atol=1e-6)
    np.testing.assert_allclose(split.confidence[disc], 0, atol=1e-6)
    np.testing.assert_array_equal(split.confidence[~disc], 1)


def test_the_mean_of_a_single_sample_is_that_sample():
    samples = sample_set(random_samples(1))
    summary = summarise(samples)
    np.testing.assert_array_equal(summary.mean_probability, samples.probabilities[0])
    np.testing.assert_array_equal(summary.confidence, 1)


def test_threshold_changes_only_the_mean_mask():
    samples = sample_set(random_samples(6))
    low, high = summarise(samples, 0.3), summarise(samples, 0.7)
    np.testing.assert_array_equal(low.mean_mask, low.mean_probability >= 0.3)
    np.testing.assert_array_equal(high.mean_mask, high.mean_probability >= 0.7)
    assert low.mean_mask.sum() > high.mean_mask.sum()
    np.testing.assert_array_equal(low.sample_masks, high.sample_masks)


def test_order_of_samples_changes_nothing_but_rounding():
    probabilities = random_samples(9)
    one, other = summarise(sample_set(probabilities)), summarise(sample_set(probabilities[::-1]))
    np.testing.assert_allclose(one.variance, other.variance, atol=1e-6)
    np.testing.assert_allclose(one.mean_probability, other.mean_probability, atol=1e-6)
    np.testing.assert_array_equal(one.sample_masks, other.sample_masks[::-1])


def test_samples_are_not_changed():
    samples = sample_set(random_samples(3))
    before = samples.probabilities.copy()
    summarise(samples)
    np.testing.assert_array_equal(samples.probabilities, before)


def test_an_empty_set_of_samples_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        summarise(sample_set(random_samples(0)))
