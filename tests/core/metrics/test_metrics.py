"""Metrics against values computed by hand or by slow reference implementations."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest

from latentfm_core.metrics.distribution import (
    fair_ged,
    ged,
    hm_iou,
    pairwise_distance,
    sample_diversity,
)
from latentfm_core.metrics.overlap import dice, iou, pairwise_iou
from latentfm_core.metrics.reliability import ReliabilityBins, brier, ece, error_auroc


def box(*parts: tuple[int, int], length: int = 12) -> np.ndarray:
    """Return a 3 x `length` mask that is True in the given column ranges."""
    mask = np.zeros((3, length), bool)
    for start, stop in parts:
        mask[:, start:stop] = True
    return mask


def stack(*masks: np.ndarray) -> np.ndarray:
    return np.stack(masks)


def random_masks(count: int, seed: int, shape: tuple[int, int] = (8, 9)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape)) < rng.random((count, 1, 1))


EMPTY, FULL = box(), box((0, 12))
LEFT, MIDDLE, RIGHT = box((0, 6)), box((3, 9)), box((6, 12))


# --- overlap ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected_dice", "expected_iou"),
    [
        (LEFT, LEFT, 1, 1),
        (LEFT, RIGHT, 0, 0),
        (LEFT, MIDDLE, 1 / 2, 1 / 3),
        (LEFT, FULL, 2 / 3, 1 / 2),
        (EMPTY, EMPTY, 1, 1),
        (EMPTY, LEFT, 0, 0),
        (box((0, 1)), box((0, 3)), 1 / 2, 1 / 3),
    ],
)
def test_dice_and_iou_of_known_masks(first, second, expected_dice, expected_iou):
    assert dice(first, second) == pytest.approx(expected_dice)
    assert dice(second, first) == pytest.approx(expected_dice)
    assert iou(first, second) == pytest.approx(expected_iou)
    assert pairwise_iou(stack(first), stack(second)) == pytest.approx(expected_iou)


@pytest.mark.parametrize("seed", range(3))
def test_dice_determines_iou(seed):
    for first, second in zip(random_masks(5, seed), random_masks(5, seed + 10), strict=True):
        overlap = iou(first, second)
        assert dice(first, second) == pytest.approx(2 * overlap / (1 + overlap))


def test_pairwise_iou_is_iou_of_each_pair():
    first, second = random_masks(5, 1), random_masks(3, 2)
    first[2] = second[1] = False
    expected = [[iou(one, other) for other in second] for one in first]
    np.testing.assert_allclose(pairwise_iou(first, second), expected, rtol=1e-12)
    np.testing.assert_allclose(pairwise_distance(first, second), 1 - np.array(expected))


def test_large_areas_are_counted_exactly():
    # 2^24 + 3 is no float32.
    first = np.ones((1, 2**24 + 4), bool)
    second = first.copy()
    second[0, 0] = False
    assert pairwise_iou(first, second)[0, 0] == (2**24 + 3) / (2**24 + 4)


@pytest.mark.parametrize("function", [dice, iou])
def test_incomparable_masks_are_refused(function):
    with pytest.raises(ValueError, match="shape"):
        function(LEFT, LEFT[:, :5])
    with pytest.raises(ValueError, match="boolean"):
        function(LEFT.astype(np.uint8), LEFT)
    with pytest.raises(ValueError, match="shape"):
        pairwise_iou(stack(LEFT), stack(LEFT[:, :5]))
    with pytest.raises(ValueError, match="boolean"):
        pairwise_iou(stack(LEFT).astype(float), stack(LEFT))


# --- distributions --------------------------------------------------------------------------------


def slow_ged(samples: np.ndarray, references: np.ndarray) -> float:
    def mean_distance(first, second):
        return np.mean([1 - iou(one, other) for one in first for other in second])

    return (
        2 * mean_distance(samples, references)
        - mean_distance(samples, samples)
        - mean_distance(references, references)
    )


@pytest.mark.parametrize(
    ("samples", "references", "expected"),
    [
        (stack(LEFT), stack(LEFT), 0),
        (stack(LEFT), stack(RIGHT), 2),
        (stack(EMPTY), stack(EMPTY), 0),
        (stack(EMPTY), stack(LEFT), 2),
        (stack(LEFT), stack(MIDDLE), 4 / 3),
        # 2 * 1/2 - 0 - 1/2: one mode of two is missed.
        (stack(LEFT), stack(LEFT, RIGHT), 1 / 2),
        # 2 (0.7 * 0.5 + 0.3 * 0.5) - 2 * 0.7 * 0.3 - 2 * 0.5 * 0.5 = 0.08
        (stack(*[LEFT] * 7, *[RIGHT] * 3), stack(LEFT, RIGHT), 0.08),
        (stack(LEFT, EMPTY, LEFT, EMPTY), stack(EMPTY, LEFT), 0),
    ],
)
def test_ged_of_known_sets(samples, references, expected):
    assert ged(samples, references) == pytest.approx(expected, abs=1e-12)
    assert ged(references, samples) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ged_agrees_with_the_formula_and_is_not_negative(seed):
    samples, references = random_masks(6, seed), random_masks(4, seed + 50)
    samples[0] = False
    value = ged(samples, references)
    assert value == pytest.approx(slow_ged(samples, references), abs=1e-12)
    assert value > 0
    order = np.random.default_rng(seed).permutation(6)
    assert ged(samples, samples[order]) == pytest.approx(0, abs=1e-12)
    assert ged(samples, np.concatenate([samples, samples])) == pytest.approx(0, abs=1e-12)


def test_ged_decreases_as_samples_approach_the_raters():
    raters = stack(LEFT, LEFT, RIGHT, EMPTY)
    one_mode = stack(LEFT, LEFT, LEFT, LEFT)
    two_modes = stack(LEFT, LEFT, RIGHT, RIGHT)
    assert ged(one_mode, raters) > ged(two_modes, raters) > ged(raters[::-1], raters)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fair_ged_does_not_depend_on_the_number_of_samples_on_average(count):
    samples, raters = random_masks(6, 1), random_masks(3, 51)
    whole = fair_ged(samples, raters)
    parts = [fair_ged(samples[list(some)], raters) for some in combinations(range(6), count)]
    assert np.mean(parts) == pytest.approx(whole, abs=1e-12)
    usual = [ged(samples[list(some)], raters) for some in combinations(range(6), count)]
    assert np.mean(usual) > ged(samples, raters) + 0.01, "as GED is not"


def slow_hm_iou(samples: np.ndarray, references: np.ndarray) -> float:
    size = np.lcm(len(samples), len(references))
    first = np.repeat(samples, size // len(samples), axis=0)
    second = np.repeat(references, size // len(references), axis=0)
    table = np.array([[iou(one, other) for other in second] for one in first])
    return max(table[range(size), list(order)].mean() for order in permutations(range(size)))


@pytest.mark.parametrize(
    ("samples", "references", "expected"),
    [
        (stack(LEFT), stack(LEFT), 1),
        (stack(LEFT, RIGHT), stack(RIGHT, LEFT), 1),
        (stack(LEFT), stack(LEFT, RIGHT), 1 / 2),
        (stack(LEFT, MIDDLE), stack(MIDDLE, MIDDLE), 2 / 3),
        (stack(EMPTY), stack(EMPTY, EMPTY), 1),
        (stack(*[LEFT] * 7, *[RIGHT] * 3), stack(LEFT, RIGHT), 0.8),
    ],
)
def test_hm_iou_of_known_sets(samples, references, expected):
    assert hm_iou(samples, references) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 3), (1, 4), (6, 2), (4, 6)])
def test_hm_iou_uses_the_best_matching(n, m):
    samples, references = random_masks(n, n, (3, 4)), random_masks(m, m + 7, (3, 4))
    if np.lcm(n, m) > 6:
        # Too many orders to try: no matching drawn at random may be better.
        size = np.lcm(n, m)
        table = np.repeat(pairwise_iou(samples, references), size // n, axis=0)
        table = np.repeat(table, size // m, axis=1)
        rng = np.random.default_rng(0)
        best = max(table[range(size), rng.permutation(size)].mean() for _ in range(2000))
        assert best - 1e-12 <= hm_iou(samples, references) <= table.max(axis=1).mean() + 1e-12
    else:
        assert hm_iou(samples, references) == pytest.approx(slow_hm_iou(samples, references))


def test_sample_diversity():
    assert np.isnan(sample_diversity(stack(LEFT)))
    assert sample_diversity(stack(LEFT, LEFT, LEFT)) == 0
    assert sample_diversity(stack(LEFT, RIGHT)) == 1
    assert sample_diversity(stack(LEFT, MIDDLE, RIGHT)) == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    samples = random_masks(6, 3)
    within = pairwise_distance(samples, samples).mean()
    assert sample_diversity(samples) == pytest.approx(within * 6 / 5)


def test_empty_sets_are_refused():
    nothing = np.zeros((0, 3, 12), bool)
    for function in (ged, hm_iou):
        with pytest.raises(ValueError, match="at least one"):
            function(nothing, stack(LEFT))
        with pytest.raises(ValueError, match="at least one"):
            function(stack(LEFT), nothing)
    with pytest.raises(ValueError, match="at least one"):
        sample_diversity(nothing)


# --- calibration --------------------------------------------------------------------------------


def pixels(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_ece_of_known_pixels():
    probability = pixels(0.05, 0.05, 0.95, 0.95, 1.0)
    mask = np.array([[False, True, True, True, False]])
    # bin 0: |0.5 - 0.05| on 2 pixels; bin 9: |2/3 - 2.9/3| on 3 pixels.
    assert ece(probability, mask, n_bins=10) == pytest.approx((2 * 0.45 + 0.9) / 5, abs=1e-6)
    assert ece(pixels(0, 0, 1, 1), np.array([[False, False, True, True]])) == 0
    assert ece(pixels(1, 1), np.array([[False, False]])) == 1
    assert ece(pixels(*[0.3] * 10), np.array([[True] * 3 + [False] * 7])) == pytest.approx(
        0, abs=1e-6
    )


def slow_ece(probability: np.ndarray, mask: np.ndarray, n_bins: int) -> float:
    total = 0.0
    for index in range(n_bins):
        low, high = index / n_bins, (index + 1) / n_bins
        inside = (probability >= low) & ((probability < high) | (index == n_bins - 1))
        if inside.any():
            gap = abs(mask[inside].mean() - probability[inside].mean(dtype=float))
            total += inside.mean() * gap
    return total


@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_ece_agrees_with_the_formula(n_bins):
    rng = np.random.default_rng(0)
    probability = rng.random((40, 50)).astype(np.float32)
    mask = rng.random((40, 50)) < probability**2
    assert ece(probability, mask, n_bins) == pytest.approx(slow_ece(probability, mask, n_bins))
    assert ece(probability, mask) > 0.1
    drawn = rng.random((400, 500)).astype(np.float32)
    assert ece(drawn, rng.random((400, 500)) < drawn) < 0.01


def test_bins_add_up_over_images():
    rng = np.random.default_rng(1)
    images = [rng.random((8, size)).astype(np.float32) for size in (5, 20, 11)]
    masks = [rng.random(image.shape) < 0.4 for image in images]
    total = sum(
        (ReliabilityBins.of(p, y) for p, y in zip(images, masks, strict=True)),
        ReliabilityBins.empty(),
    )
    pooled, truth = np.concatenate(images, axis=1), np.concatenate(masks, axis=1)
    assert total.ece == pytest.approx(ece(pooled, truth))
    assert total.count.sum() == pooled.size
    middle = (pooled >= 7 / 15) & (pooled < 8 / 15)
    assert total.mean_probability[7] == pytest.approx(pooled[middle].mean(dtype=float))
    assert total.frequency[7] == pytest.approx(truth[middle].mean())


def test_empty_bins():
    assert math.isnan(ReliabilityBins.empty().ece)
    bins = ReliabilityBins.of(pixels(0.5), np.array([[True]]), n_bins=4)
    np.testing.assert_array_equal(np.isnan(bins.frequency), [True, True, False, True])
    with pytest.raises(ValueError, match="bins"):
        ReliabilityBins.empty(4) + ReliabilityBins.empty(5)


def test_brier_of_known_pixels():
    mask = np.array([[True, False, True]])
    assert brier(pixels(1, 0, 1), mask) == 0
    assert brier(pixels(0, 1, 0), mask) == 1
    assert brier(pixels(0.5, 0.5, 0.5), mask) == 0.25
    assert brier(pixels(0.9, 0.2, 0.6), mask) == pytest.approx((0.01 + 0.04 + 0.16) / 3, abs=1e-6)


def slow_auroc(confidence: np.ndarray, wrong: np.ndarray) -> float:
    low, high = confidence[wrong], confidence[~wrong]
    wins = (low[:, None] < high[None]) + 0.5 * (low[:, None] == high[None])
    return float(wins.mean())


@pytest.mark.parametrize(
    ("confidence", "wrong", "expected"),
    [
        ((0.1, 0.2, 0.8, 0.9), (1, 1, 0, 0), 1),
        ((0.1, 0.2, 0.8, 0.9), (0, 0, 1, 1), 0),
        ((0.5, 0.5, 0.5, 0.5), (1, 0, 1, 0), 0.5),
        ((0.1, 0.5, 0.5, 0.9), (1, 1, 0, 0), 0.875),
        ((0.2, 0.1, 0.9, 0.8), (1, 0, 0, 0), 2 / 3),
    ],
)
def test_error_auroc_of_known_pixels(confidence, wrong, expected):
    mask = np.array([[True, False, True, False]])
    prediction = mask ^ np.array([wrong], bool)
    assert error_auroc(pixels(*confidence), prediction, mask) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_error_auroc_agrees_with_the_formula_under_ties(levels):
    rng = np.random.default_rng(levels)
    confidence = (rng.integers(0, levels, (30, 20)) / levels).astype(np.float32)
    mask, prediction = rng.random((2, 30, 20)) < 0.5
    wrong = (mask != prediction).ravel()
    assert error_auroc(confidence, prediction, mask) == pytest.approx(
        slow_auroc(confidence.ravel(), wrong)
    )


def test_error_auroc_is_undefined_without_two_classes():
    assert (
        error_auroc(pixels(0.1, 0.9), np.array([[True, False]]), np.array([[True, False]])) is None
    )
    assert (
        error_auroc(pixels(0.1, 0.9), np.array([[True, False]]), np.array([[False, True]])) is None
    )


def test_calibration_refuses_unusable_data():
    mask = np.array([[True, False]])
    for function in (ece, brier):
        with pytest.raises(ValueError, match="shapes"):
            function(pixels(0.1), mask)
        with pytest.raises(ValueError, match="boolean"):
            function(pixels(0.1, 0.2), mask.astype(int))
        for wrong in (1.1, -0.1, np.nan):
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                function(pixels(0.1, wrong), mask)
    with pytest.raises(ValueError, match="shapes"):
        error_auroc(pixels(0.1), mask, mask)
    with pytest.raises(ValueError, match="boolean"):
        error_auroc(pixels(0.1, 0.2), mask.astype(int), mask)
    with pytest.raises(ValueError, match="NaN"):
        error_auroc(pixels(0.1, np.nan), mask, ~mask)
